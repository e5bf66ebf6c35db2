"""The sans-I/O client: bytes and time in, call events out, exactly one end for each call.

It owns the pending calls and whether a worker runs, and knows no process, thread, event loop or clock. Its drivers
(`blocking_pipes`, `aio_pipes`) never enter it twice at a time.

A line without an id that says `message_too_large` fails the longest pending call (2026-11-26): the worker couldn't
read the id, and each such line stands for one request that was too long, so that request and no other fails.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from mlx_sidecar.client.failures import WorkerEnded, failure
from mlx_sidecar.client.offsets import in_code_points
from mlx_sidecar.client.prepared_request import PreparedRequest
from mlx_sidecar.client.restarts import Restarts, RestartState
from mlx_sidecar.client.wire import CallEvent, Ended, ProtocolViolation, ReceivedLine, decode, encode
from mlx_sidecar.errors import MessageTooLarge, ModelNotLoaded, SidecarError
from mlx_sidecar.protocol.commands import command_of
from mlx_sidecar.protocol.framing import LineSplitter, Oversized
from mlx_sidecar.protocol.requests import Cancel, LoadModel, Request, UnloadModel
from mlx_sidecar.protocol.responses import CancelCount, ModelLoaded, ModelUnloaded, Result

MAX_LINE_BYTES = 256 * 2**20
"""A longer line is a protocol violation, so that a faulty worker can't fill the memory."""

Receiver = Callable[[CallEvent], None]
Delivery = tuple[Receiver, CallEvent]


class _Pending(Struct):
    request: Request
    receiver: Receiver
    size_bytes: int


def _as_python_counts(event: CallEvent, request: Request) -> CallEvent:
    if isinstance(event, Ended) and isinstance(event.outcome, Result):
        return replace(event, outcome=in_code_points(event.outcome, request))
    return event


def _ignore(_: CallEvent) -> None:
    """The receiver of a call that nobody waits for."""


class Core:
    """All calls of one client, also across restarts of its worker."""

    def __init__(self, restarts: Restarts) -> None:
        self._pending: dict[int, _Pending] = {}
        self._next_id = 1
        self._restart_state = RestartState(restarts)
        self._splitter = LineSplitter(MAX_LINE_BYTES)
        self._loaded: LoadModel | None = None
        self._reload: int | None = None
        self._reload_error: SidecarError | None = None
        """Why this worker couldn't load the model of the one before it: calls that need a model fail with it."""
        self.running = False
        self.broken: str | None = None
        """The output that violated the protocol; the driver ends the worker."""

    # Calls

    def open(self, prepared: PreparedRequest[Any], receiver: Receiver) -> tuple[int, bytes]:
        """Begin a call; returns its id and its request line. Raises InvalidParams."""
        number = self._next_id
        line = encode(number, prepared.request)
        self._next_id += 1
        self._pending[number] = _Pending(prepared.request, receiver, len(line))
        return number, line

    def abandon(self, number: int) -> bytes:
        """Give up a call; returns the line that cancels it, or nothing where it has ended.

        The call stays pending until the worker ends it; its events are dropped.
        """
        call = self._pending.get(number)
        if call is None or call.receiver is _ignore:
            return b""
        call.receiver = _ignore
        _, line = self.open(PreparedRequest[CancelCount](Cancel(target=number)), _ignore)
        return line

    @property
    def pending(self) -> int:
        """The number of calls that the worker hasn't ended."""
        return len(self._pending)

    # Bytes

    def feed(self, chunk: bytes) -> list[Delivery]:
        """Take what the worker wrote. After a protocol violation the rest of its output is ignored."""
        deliveries: list[Delivery] = []
        try:
            for line in [] if self.broken else self._splitter.feed(chunk):
                if isinstance(line, Oversized):
                    raise ProtocolViolation(b"a line of more than %d bytes" % line.limit_bytes)
                deliveries += self._take(decode(line), line)
        except ProtocolViolation as error:
            self.broken = str(error)
        return deliveries

    def _take(self, received: ReceivedLine, line: bytes) -> list[Delivery]:
        number = received.id if received.id is not None else self._unreadable(received, line)
        call = self._pending.get(number) if isinstance(number, int) else None
        if call is None or not isinstance(number, int):
            return []
        if isinstance(received.event, Ended):
            del self._pending[number]
            self._note_model(number, call.request, received.event)
            # Only results of the model count: a worker that crashes with each use of it may still answer `status`.
            command = command_of(call.request)
            if command.generates and isinstance(received.event.outcome, command.result):
                self._restart_state.answered()
        event = _as_python_counts(received.event, call.request)
        return [(call.receiver, each) for each in self._for_its_model(call.request, event)]

    def _unreadable(self, received: ReceivedLine, line: bytes) -> int:
        """The call of a request line that was too long for the worker to read its id.

        Each such line gets one such answer, so failing the longest call each time fails exactly those.
        """
        event = received.event
        if not (isinstance(event, Ended) and isinstance(event.outcome, MessageTooLarge) and self._pending):
            raise ProtocolViolation(line)
        # A copy: the garbage collector may cancel a dropped stream at any moment, which opens a call.
        return max(list(self._pending), key=lambda number: self._pending[number].size_bytes)

    def _note_model(self, number: int, request: Request, ended: Ended) -> None:
        if isinstance(request, LoadModel) and isinstance(ended.outcome, ModelLoaded):
            self._loaded, self._reload_error = request, None
        elif isinstance(request, UnloadModel) and isinstance(ended.outcome, ModelUnloaded):
            self._loaded = self._reload_error = None
        elif number == self._reload and isinstance(ended.outcome, SidecarError):
            self._reload_error = ended.outcome

    def _for_its_model(self, request: Request, event: CallEvent) -> list[CallEvent]:
        """The event, unless the worker answers with another model than the call was made for, or with none."""
        reload_error = self._reload_error
        if reload_error is None or command_of(request).model != "needs":
            return [event]
        if not isinstance(event, Ended):
            return []
        if isinstance(event.outcome, SidecarError) and not isinstance(event.outcome, ModelNotLoaded):
            return [event]
        return [Ended(failure(reload_error.code, reload_error.message, reload_error.retryable, reload_error.data))]

    # Processes

    def start_wait_s(self, now_s: float) -> float:
        """Seconds until a worker may be started. Raises WorkerFailed."""
        return self._restart_state.wait_s(now_s)

    def started(self, now_s: float) -> bytes:
        """Note that a worker runs; returns the line that loads the model of the one before it, if there was any."""
        self.running, self.broken = True, None
        self._splitter = LineSplitter(MAX_LINE_BYTES)
        self._restart_state.started(now_s)
        self._reload = self._reload_error = None
        if self._loaded is None:
            return b""
        self._reload, line = self.open(PreparedRequest[ModelLoaded](self._loaded), _ignore)
        return line

    def ended(self, now_s: float, exit_code: int | None, stderr_tail: str) -> list[Delivery]:
        """Note that the worker ended; every pending call fails."""
        self.running = False
        self._restart_state.ended(now_s, WorkerEnded(exit_code, stderr_tail, self.broken))
        failed, self._pending = self._pending, {}
        # One exception for each call: one that is raised in many places collects all their tracebacks.
        return [(call.receiver, Ended(WorkerEnded(exit_code, stderr_tail, self.broken))) for call in failed.values()]
