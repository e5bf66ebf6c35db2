"""The event loop: handles events, carries out the core's effects, runs one engine step, flushes the output."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable

from mlx_sidecar.engine.engine import Engine
from mlx_sidecar.errors import Internal, SidecarError
from mlx_sidecar.protocol.codec import UNKNOWN_COMMAND, Address
from mlx_sidecar.protocol.commands import COMMANDS
from mlx_sidecar.protocol.requests import LoadModel
from mlx_sidecar.server.core import Core
from mlx_sidecar.server.effects import Effect, Exit, HandleEvents, SendAnswer
from mlx_sidecar.server.events import (
    CoreEvent,
    DownloadOutput,
    Event,
    EventsHandled,
    LineReceived,
    LoadAtStart,
    ResumePaused,
    StartRequests,
    ThreadFailed,
    TimePassed,
)
from mlx_sidecar.server.frontends.ndjson import NdjsonFrontEnd
from mlx_sidecar.server.io.log import Log
from mlx_sidecar.server.io.queue import EventQueue
from mlx_sidecar.server.io.stdin import line_size
from mlx_sidecar.server.task_runner import TaskRunner

_MAX_WAIT_S = 3600.0
"""The system's clocks can't count to any number that a timeout_s may be."""

_TIME_PASSED, _START_REQUESTS, _RESUME_PAUSED = TimePassed(), StartRequests(), ResumePaused()


class Loop:
    """Runs on the main thread. Core and front end are touched under the output lock only, tasks and engine without."""

    def __init__(
        self,
        queue: EventQueue,
        core: Core,
        front_end: NdjsonFrontEnd,
        output_lock: threading.Lock,
        runner: TaskRunner,
        engine: Engine,
        log: Log,
    ) -> None:
        self._queue, self._core, self._front_end, self._output_lock = queue, core, front_end, output_lock
        self._runner, self._engine, self._log = runner, engine, log
        self._logs_answers = log.wants("info")

    def load_at_start(self, request: LoadModel) -> None:
        """Begin with a model. What needs none is answered meanwhile."""
        self._tell(LoadAtStart(request))

    def run(self) -> Exit:
        """Work until the end. A bug in the loop itself is the end: each request is told, and the exit code is 1."""
        try:
            return self._run()
        except BaseException as error:
            self._log.write("critical", "a bug ended the worker", error)
            with self._output_lock:
                self._front_end.answer_all(Internal("a bug ended the worker; the traceback is on stderr"))
            return Exit(1, may_wait=False)

    def _run(self) -> Exit:
        while (end := self._core.exit) is None:
            self.iterate()
        if not self._core.is_shut_down:
            # After a signal. Lines that come after the answer to shutdown count as never read.
            self._handle_events(wait=False)
        return end

    def iterate(self, max_wait_s: float = _MAX_WAIT_S) -> None:
        """Handle what has come, start what may start, let each task and the engine do a piece, flush.

        With nothing to do, wait for an event first, or for the next deadline.
        """
        core, engine = self._core, self._engine
        idle = not (engine.busy or core.has_paused or core.may_start)
        waits = idle and not engine.may_work_ahead
        self._handle_events(wait=waits, timeout_s=self._time_left(max_wait_s) if waits else None)
        # What starts now may take its time.
        self._flush()
        if core.next_deadline() is not None:
            self._tell(_TIME_PASSED)
        while core.may_start and self._tell(_START_REQUESTS):
            pass
        if core.has_paused:
            self._flush()
            self._tell(_RESUME_PAUSED)
        if engine.busy:
            self._flush()
            self._tell(*self._runner.step())
        self._flush()
        if idle and engine.may_work_ahead:
            engine.work_ahead()

    def _time_left(self, max_wait_s: float) -> float:
        deadline = self._core.next_deadline()
        return max_wait_s if deadline is None else min(max(0.0, deadline - time.monotonic()), max_wait_s)

    def _handle_events(self, *, wait: bool, timeout_s: float | None = None) -> None:
        self._queue.fetch(wait=wait, timeout_s=timeout_s)
        while (event := self._queue.peek()) is not None:
            self._handle(event)

    def _handle(self, event: Event) -> None:
        """Handle the oldest event in the queue, and remove it at the moment at which the core has it."""
        if isinstance(event, LineReceived):
            read = self._front_end.read(event.line)
            with self._output_lock:
                self._queue.pop()
                effects = self._handle_locked(self._front_end.open(read, line_size(event.line)))
            self._carry_out(effects)
            return
        with self._output_lock:
            self._queue.pop()
        match event:
            case DownloadOutput():
                if (message := self._runner.take_output(event)) is not None:
                    self._tell(message)
            case ThreadFailed(error):
                raise error
            case _:
                self._tell(event)

    def _tell(self, *events: CoreEvent) -> bool:
        """Let the core handle these, and carry out what it wants done; whether that was anything."""
        effects: list[Effect] = []
        with self._output_lock:
            for event in events:
                effects += self._handle_locked(event)
        self._carry_out(effects)
        return bool(effects)

    def _handle_locked(self, event: CoreEvent) -> list[Effect]:
        """Let the core handle an event and write its output; gives the other effects. Holds the output lock."""
        now = time.monotonic()
        effects = self._core.handle(event, now)
        if not effects:
            return effects
        if self._logs_answers:
            self._log_answers(effects)
        return self._front_end.write(effects, now)

    def _carry_out(self, effects: list[Effect]) -> None:
        """One after the other, each with all that comes of it before the next."""
        stack = effects[::-1]
        while stack:
            effect = stack.pop()
            if isinstance(effect, HandleEvents):
                self._handle_events(wait=False)
                event: CoreEvent | None = EventsHandled(effect.number)
            else:
                event = self._runner.carry_out(effect)
            if event is not None:
                with self._output_lock:
                    stack += self._handle_locked(event)[::-1]

    def _flush(self) -> None:
        with self._output_lock:
            self._front_end.flush()

    def _log_answers(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, SendAnswer):
                self._log.write("info", _summary(effect, self._front_end.address_of(effect.number)))


def _summary(answer: SendAnswer, address: Address) -> str:
    """A request in a line of the log. Of what a client sends only the id is in it, cut: the rest may be anything."""
    command = address.command if address.command in COMMANDS else UNKNOWN_COMMAND
    tokens = f" tokens={answer.input_tokens}+{answer.output_tokens}" if answer.input_tokens else ""
    code = answer.outcome.code if isinstance(answer.outcome, SidecarError) else "ok"
    return f"{command!r} id={address.id!r:.64} {code}{tokens} {answer.seconds:.3f}s"
