"""How requests end. Every ending of every request passes through `Endings`, so that each is answered once."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from mlx_sidecar.errors import Cancelled, SidecarError, TimedOut
from mlx_sidecar.protocol.requests import Shutdown
from mlx_sidecar.protocol.responses import Result
from mlx_sidecar.server.effects import Effect, Exit, StartupEnded
from mlx_sidecar.server.execution import Execution
from mlx_sidecar.server.requests import ActiveRequest, RequestTable, Trigger
from mlx_sidecar.server.start_order import StartOrder


class Life(Struct):
    """How far the worker is between its start and its end."""

    startup: ActiveRequest | None = None
    """The load of `--model`, which nobody asked for on the wire and nobody is answered."""
    shutdown: ActiveRequest | None = None
    """The shutdown that was accepted."""
    input_ended: bool = False
    exit: Exit | None = None


class Endings:
    """Ends requests: one that has started is stopped first, one that waits is answered at once."""

    def __init__(self, requests: RequestTable, start_order: StartOrder, execution: Execution, life: Life) -> None:
        self._requests, self._start_order, self._execution, self._life = requests, start_order, execution, life

    def end(self, request: ActiveRequest | None, outcome: Result | SidecarError, now: float) -> list[Effect]:
        """End a request, wherever it is; the first outcome counts."""
        if request is None or request.is_ending:
            return []
        if request.has_started:
            return self._execution.stop(request, outcome)
        return self.finish(request, self._execution.with_remains(request, outcome), now)

    def end_all(self, requests: Iterable[ActiveRequest], outcome: SidecarError, now: float) -> list[Effect]:
        """End each of these with the same outcome."""
        return [effect for request in requests for effect in self.end(request, outcome, now)]

    def end_now(self, code: int, why: str, now: float) -> list[Effect]:
        """The worker ends: answer everything, for whoever still reads."""
        self._life.exit = self._life.exit or Exit(code, may_wait=False)
        return self.end_all(self._requests, Cancelled(why), now)

    def end_late(self, now: float) -> list[Effect]:
        """End what is out of time, and after the grace period of a shutdown what is before it."""
        effects: list[Effect] = []
        for deadline, request in self._requests.deadlines():
            if deadline <= now:
                why = "the request took longer than its timeout_s; allow more time or ask for less"
                effects += self.end(request, TimedOut(why), now)
        grace_ends, shutdown = self._grace_ends(), self._life.shutdown
        if shutdown is not None and grace_ends is not None and grace_ends <= now:
            why = "the worker is shutting down and the time that grace_s gives is up"
            effects += self._end_others(shutdown, why, now)
        return effects

    def next_deadline(self) -> float | None:
        """When `end_late` has something to do."""
        moments = [moment for moment, _ in self._requests.deadlines()]
        if (grace_ends := self._grace_ends()) is not None:
            moments.append(grace_ends)
        return min(moments, default=None)

    def finish(self, request: ActiveRequest, outcome: Result | SidecarError, now: float) -> list[Effect]:
        """Answer a request whose task and jobs are gone."""
        if request is self._life.startup:
            self._life.startup, self._start_order.has_changed = None, True
            return [StartupEnded(outcome if isinstance(outcome, SidecarError) else None)]
        shutdown = self._life.shutdown
        if request is shutdown and len(self._requests) > 1:
            # However it ends, it is answered last.
            request.outcome = outcome
            if not request.is_ending:
                request.move(Trigger.STOP)
            return self._end_others(request, "the worker is shutting down", now)
        effects = self._answer(request, outcome, now)
        if request is shutdown:
            self._life.exit = self._life.exit or Exit(0, may_wait=True)
        elif shutdown is not None and shutdown.outcome is not None and len(self._requests) == 1:
            effects += self.finish(shutdown, shutdown.outcome, now)
        return effects

    def abandon(self, reason: str, now: float) -> list[Effect]:
        """Answer every request, a shutdown last, without stopping anything."""
        effects: list[Effect] = []
        for request in sorted(self._requests, key=lambda request: request is self._life.shutdown):
            outcome = self._execution.with_remains(request, Cancelled(reason), request.round.text_so_far)
            effects += self._answer(request, outcome, now)
        return effects

    def _answer(self, request: ActiveRequest, outcome: Result | SidecarError, now: float) -> list[Effect]:
        request.move(Trigger.END)
        self._requests.remove(request)
        self._start_order.has_changed = len(self._requests) > 0
        return [self._execution.answer(request, outcome, now)]

    def _end_others(self, kept: ActiveRequest, why: str, now: float) -> list[Effect]:
        return self.end_all((request for request in self._requests if request is not kept), Cancelled(why), now)

    def _grace_ends(self) -> float | None:
        shutdown = self._life.shutdown
        if shutdown is None or len(self._requests) <= 1 or not isinstance(shutdown.request, Shutdown):
            return None
        return shutdown.accepted_at + shutdown.request.grace_s
