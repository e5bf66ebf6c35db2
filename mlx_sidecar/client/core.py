"""The client without its pipes: bytes in, happenings out, and one ending for each call.

Owns which calls are pending, and whether a worker runs. Refuses to know of processes, threads, loops and clocks; what
drives it (`blocking`, `aio`) sees to it that nothing in here happens twice at a time.

A line without an id that says `message_too_large` fails the longest pending call (2026-11-26): the worker couldn't
read the id, and each such line stands for one request that was too long, so that request and no other fails.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from mlx_sidecar.client.ask import Ask
from mlx_sidecar.client.failures import WorkerEnded, failure
from mlx_sidecar.client.offsets import in_code_points
from mlx_sidecar.client.restarts import Life, Restarts
from mlx_sidecar.client.wire import Ended, Happening, NoLine, Said, decode, encode
from mlx_sidecar.errors import MessageTooLarge, ModelNotLoaded, SidecarError
from mlx_sidecar.protocol.commands import command_of
from mlx_sidecar.protocol.framing import LineSplitter, Oversized
from mlx_sidecar.protocol.requests import Cancel, LoadModel, Request, UnloadModel
from mlx_sidecar.protocol.responses import CancelCount, ModelLoaded, ModelUnloaded, Result

MAX_LINE_BYTES = 256 * 2**20
"""A longer answer is taken for nonsense, so that a worker that has gone mad can't fill the memory."""

Receiver = Callable[[Happening], None]
Delivery = tuple[Receiver, Happening]


class _Pending(Struct):
    request: Request
    receiver: Receiver
    size_bytes: int


def _as_python_counts(happening: Happening, request: Request) -> Happening:
    if isinstance(happening, Ended) and isinstance(happening.outcome, Result):
        return replace(happening, outcome=in_code_points(happening.outcome, request))
    return happening


def _nobody(_: Happening) -> None:
    """Hears what nobody wants to hear any more."""


class Core:
    """All calls of one client, through all workers that it has one after the other."""

    def __init__(self, restarts: Restarts) -> None:
        self._pending: dict[int, _Pending] = {}
        self._next_id = 1
        self._life = Life(restarts)
        self._splitter = LineSplitter(MAX_LINE_BYTES)
        self._loaded: LoadModel | None = None
        self._reload: int | None = None
        self._missed: SidecarError | None = None
        """Why the model of the last worker isn't in this one: calls that need it fail with that."""
        self.running = False
        self.broken: str | None = None
        """What the worker said that is no line; it is to be ended."""

    # Calls

    def open(self, ask: Ask[Any], receiver: Receiver) -> tuple[int, bytes]:
        """Begin a call: its id, and its line for the worker. Raises InvalidParams."""
        number = self._next_id
        line = encode(number, ask.request)
        self._next_id += 1
        self._pending[number] = _Pending(ask.request, receiver, len(line))
        return number, line

    def abandon(self, number: int) -> bytes:
        """Nobody waits for this call any more: the line that cancels it, or nothing where it has ended.

        It stays pending until the worker has ended it, but what comes of it is heard by nobody.
        """
        call = self._pending.get(number)
        if call is None or call.receiver is _nobody:
            return b""
        call.receiver = _nobody
        _, line = self.open(Ask[CancelCount](Cancel(target=number)), _nobody)
        return line

    @property
    def pending(self) -> int:
        """How many calls the worker hasn't ended yet."""
        return len(self._pending)

    # Bytes

    def feed(self, chunk: bytes) -> list[Delivery]:
        """The worker wrote this. After something that is no line, nothing more is read of this worker."""
        deliveries: list[Delivery] = []
        try:
            for line in [] if self.broken else self._splitter.feed(chunk):
                if isinstance(line, Oversized):
                    raise NoLine(b"a line of more than %d bytes" % line.limit_bytes)
                deliveries += self._take(decode(line), line)
        except NoLine as problem:
            self.broken = str(problem)
        return deliveries

    def _take(self, said: Said, line: bytes) -> list[Delivery]:
        number = said.id if said.id is not None else self._unreadable(said, line)
        call = self._pending.get(number) if isinstance(number, int) else None
        if call is None or not isinstance(number, int):
            return []
        if isinstance(said.happening, Ended):
            del self._pending[number]
            self._note_model(number, call.request, said.happening)
            # Not any answer: a worker that ends whenever its model is needed may say `status` well.
            command = command_of(call.request)
            if command.generates and isinstance(said.happening.outcome, command.result):
                self._life.answered()
        happening = _as_python_counts(said.happening, call.request)
        return [(call.receiver, each) for each in self._of_its_model(call.request, happening)]

    def _unreadable(self, said: Said, line: bytes) -> int:
        """Whose line the worker found too long to read: its id wasn't read either.

        Each such line gets one such answer, so failing the longest each time fails exactly those.
        """
        happening = said.happening
        if not (isinstance(happening, Ended) and isinstance(happening.outcome, MessageTooLarge) and self._pending):
            raise NoLine(line)
        # Of a copy: the garbage collector may cancel a forgotten stream, which opens a call, at any moment.
        return max(list(self._pending), key=lambda number: self._pending[number].size_bytes)

    def _note_model(self, number: int, request: Request, ended: Ended) -> None:
        if isinstance(request, LoadModel) and isinstance(ended.outcome, ModelLoaded):
            self._loaded, self._missed = request, None
        elif isinstance(request, UnloadModel) and isinstance(ended.outcome, ModelUnloaded):
            self._loaded = self._missed = None
        elif number == self._reload and isinstance(ended.outcome, SidecarError):
            self._missed = ended.outcome

    def _of_its_model(self, request: Request, happening: Happening) -> list[Happening]:
        """What the worker says, unless it says it with another model than the call was made for, or with none."""
        missed = self._missed
        if missed is None or command_of(request).model != "needs":
            return [happening]
        if not isinstance(happening, Ended):
            return []
        if isinstance(happening.outcome, SidecarError) and not isinstance(happening.outcome, ModelNotLoaded):
            return [happening]
        return [Ended(failure(missed.code, missed.message, missed.retryable, missed.data))]

    # Processes

    def start_wait_s(self, now_s: float) -> float:
        """Seconds until a worker may be started. Raises WorkerFailed."""
        return self._life.wait_s(now_s)

    def started(self, now_s: float) -> bytes:
        """A worker runs: what to say to it first, which is to load the model that the one before had."""
        self.running, self.broken = True, None
        self._splitter = LineSplitter(MAX_LINE_BYTES)
        self._life.started(now_s)
        self._reload = self._missed = None
        if self._loaded is None:
            return b""
        self._reload, line = self.open(Ask[ModelLoaded](self._loaded), _nobody)
        return line

    def ended(self, now_s: float, exit_code: int | None, stderr_tail: str) -> list[Delivery]:
        """The worker is gone: every call that is pending fails."""
        self.running = False
        self._life.ended(now_s, WorkerEnded(exit_code, stderr_tail, self.broken))
        failed, self._pending = self._pending, {}
        # An exception for each: one that is raised in many places collects all their tracebacks.
        return [(call.receiver, Ended(WorkerEnded(exit_code, stderr_tail, self.broken))) for call in failed.values()]
