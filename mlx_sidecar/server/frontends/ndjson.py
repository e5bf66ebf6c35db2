"""NDJSON: lines to requests, outputs to lines, in the order and at the rate that the protocol promises."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol

from msgspec import Struct, field

from mlx_sidecar.errors import Internal, SidecarError
from mlx_sidecar.protocol.codec import (
    Accepted,
    Address,
    Refused,
    decode,
    encode_error,
    encode_progress,
    encode_response,
)
from mlx_sidecar.protocol.framing import Line
from mlx_sidecar.protocol.requests import Shutdown
from mlx_sidecar.protocol.responses import Delta, Measure, Result
from mlx_sidecar.server.effects import AddWarnings, Effect, SendAnswer, SendProgress
from mlx_sidecar.server.events import RequestReceived, RequestRefused

_MEASURE_INTERVAL_S = 0.1


class LineWriter(Protocol):
    """Takes lines for stdout."""

    def write(self, line: bytes, when_written: Callable[[], None] | None = None) -> None:
        """Take a line for the next flush; `when_written` is called once it is out."""

    def flush(self) -> None:
        """Flush buffered lines."""


class Exchange(Struct, eq=False):
    """One request line, from the moment it was read to its last line."""

    address: Address
    size_bytes: int
    warnings: tuple[str, ...] = ()
    has_ended: bool = False
    held: list[bytes] = field(default_factory=list)
    """Lines that wait until the requests before it are answered."""
    measured_at: float | None = None
    unsent_measure: Measure | None = None


class ResponseOrder:
    """Requests without an id are answered in the order they came, a shutdown among them last."""

    def __init__(self) -> None:
        self._queue: deque[Exchange] = deque()
        self._last: Exchange | None = None

    def add(self, exchange: Exchange, *, is_last: bool) -> None:
        """One more request without an id; all that come after one that `is_last` are answered before it."""
        if self._last is None:
            self._queue.append(exchange)
            self._last = exchange if is_last else None
        else:
            self._queue.insert(self._queue.index(self._last), exchange)

    def may_write(self, exchange: Exchange) -> bool:
        """Whether its lines go out at once."""
        return exchange.address.id is not None or self._queue[0] is exchange

    def take_ended(self) -> list[Exchange]:
        """Those at the head that have ended; the next one, if there is one, may write from now on."""
        ended = []
        while self._queue and self._queue[0].has_ended:
            ended.append(self._queue.popleft())
        return ended

    @property
    def head(self) -> Exchange | None:
        """The request whose lines go out at once."""
        return self._queue[0] if self._queue else None


class NdjsonFrontEnd:
    """All request lines that aren't answered yet. The thread that calls it holds the output lock, but for `read`."""

    def __init__(self, writer: LineWriter, leave: Callable[[int], None]) -> None:
        """`leave` takes the size of a request line whose last line was written."""
        self._writer, self._leave = writer, leave
        self._exchanges: dict[int, Exchange] = {}
        self._order = ResponseOrder()
        self._next_number = 1

    @staticmethod
    def read(line: Line) -> Accepted | Refused:
        """Parse a line. A long one takes its time."""
        return decode(line)

    def open(self, read: Accepted | Refused, size_bytes: int) -> RequestReceived | RequestRefused:
        """A line is a request from now on: the event for the core."""
        number, self._next_number = self._next_number, self._next_number + 1
        accepted = read if isinstance(read, Accepted) else None
        exchange = Exchange(read.address, size_bytes, accepted.warnings if accepted else ())
        self._exchanges[number] = exchange
        if read.address.id is None:
            self._order.add(exchange, is_last=accepted is not None and isinstance(accepted.request, Shutdown))
        if isinstance(read, Accepted):
            return RequestReceived(number, read.request)
        return RequestRefused(number, read.error)

    def write(self, effects: Iterable[Effect], now: float) -> list[Effect]:
        """Write what is for the wire; gives the effects that aren't."""
        rest: list[Effect] = []
        for effect in effects:
            if isinstance(effect, SendAnswer):
                self.answer(effect.number, effect.outcome)
            elif isinstance(effect, SendProgress):
                self._send_progress(self._exchanges[effect.number], effect.step, now)
            elif isinstance(effect, AddWarnings):
                self._exchanges[effect.number].warnings += effect.warnings
            else:
                rest.append(effect)
        return rest

    def address_of(self, number: int) -> Address:
        """The command and the id of a request that isn't answered."""
        return self._exchanges[number].address

    def answer(self, number: int, outcome: Result | SidecarError) -> None:
        """The last line of a request, and the next one's turn."""
        exchange = self._exchanges.pop(number)
        if exchange.unsent_measure is not None:
            self._send(exchange, encode_progress(exchange.address, exchange.unsent_measure))
        self._send(exchange, _last_line(exchange, outcome))
        exchange.has_ended = True
        if exchange.address.id is not None:
            self._release(exchange)
            return
        while ended := self._order.take_ended():
            for each in ended:
                if each.held:
                    self._write_held(each)
                self._release(each)
            head = self._order.head
            if head is not None and head.held:
                self._write_held(head)

    def answer_all(self, error: SidecarError) -> None:
        """End every request that isn't answered."""
        for number in list(self._exchanges):
            self.answer(number, error)

    def flush(self) -> None:
        """Flush buffered lines."""
        self._writer.flush()

    def _send_progress(self, exchange: Exchange, step: Measure | Delta, now: float) -> None:
        if isinstance(step, Measure):
            if exchange.measured_at is not None and now - exchange.measured_at < _MEASURE_INTERVAL_S:
                exchange.unsent_measure = step
                return
            exchange.measured_at, exchange.unsent_measure = now, None
        self._send(exchange, encode_progress(exchange.address, step))

    def _send(self, exchange: Exchange, line: bytes) -> None:
        if self._order.may_write(exchange):
            self._writer.write(line)
        else:
            exchange.held.append(line)

    def _write_held(self, exchange: Exchange) -> None:
        for line in exchange.held:
            self._writer.write(line)
        exchange.held.clear()

    def _release(self, exchange: Exchange) -> None:
        self._writer.write(b"", lambda: self._leave(exchange.size_bytes))


def _last_line(exchange: Exchange, outcome: Result | SidecarError) -> bytes:
    """An outcome in bytes; one that can't be written is a bug, and the request's ending all the same."""
    try:
        if isinstance(outcome, Result):
            return encode_response(exchange.address, outcome, exchange.warnings)
        return encode_error(exchange.address, outcome)
    except BaseException:
        return encode_error(exchange.address, Internal("the answer can't be written as JSON"))
