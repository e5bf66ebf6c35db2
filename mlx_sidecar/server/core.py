"""The core: events in, effects out. No threads, no files, and no clock of its own.

It owns which requests there are, which of them may start, and that each is ended once. The loop carries out the
effects that touch tasks and the engine, the front end those that write.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

from mlx_sidecar.engine.job import JobEnded, TextCame
from mlx_sidecar.errors import Cancelled, DuplicateId, ShuttingDown
from mlx_sidecar.protocol.commands import StartRule
from mlx_sidecar.protocol.requests import Cancel, Id, Shutdown
from mlx_sidecar.server import events
from mlx_sidecar.server.effects import (
    Effect,
    Exit,
    HandleEvents,
    ResumeTask,
    SendAnswer,
    StartTask,
)
from mlx_sidecar.server.endings import Endings, Life
from mlx_sidecar.server.execution import EngineView, Execution
from mlx_sidecar.server.requests import ActiveRequest, Phase, RequestTable, Trigger
from mlx_sidecar.server.start_order import StartOrder
from mlx_sidecar.tasks.task import CancelRequests, DescribeRequests

STARTUP = 0
"""The number of the load that no request asked for."""


class Core:
    """All requests of one worker."""

    def __init__(self, engine: EngineView, max_concurrency: int) -> None:
        self._requests = RequestTable()
        self._start_order = StartOrder(max_concurrency)
        self._execution = Execution(engine)
        self._life = Life()
        self._endings = Endings(self._requests, self._start_order, self._execution, self._life)

    @property
    def exit(self) -> Exit | None:
        """How to end, once it is time."""
        if self._life.exit is None and self._life.input_ended and not len(self._requests):
            return Exit(0, may_wait=True)
        return self._life.exit

    @property
    def is_shut_down(self) -> bool:
        """Whether a `shutdown` was accepted. Lines that come after its answer count as never read."""
        return self._life.shutdown is not None

    @property
    def has_paused(self) -> bool:
        """Whether a task waits for `ResumePaused`."""
        return self._execution.has_paused

    @property
    def may_start(self) -> bool:
        """Whether `StartRequests` may start anything."""
        return self._start_order.has_changed

    def next_deadline(self) -> float | None:
        """When the next thing happens by itself."""
        return self._endings.next_deadline()

    def handle(self, event: events.CoreEvent, now: float) -> list[Effect]:
        """What is to be done about an event, in this order."""
        return _HANDLERS[type(event)](self, event, now)

    # Acceptance and start

    def _refuse(self, event: events.RequestRefused, _: float) -> list[Effect]:
        return [SendAnswer(event.number, event.error)]

    def _accept(self, event: events.RequestReceived, now: float) -> list[Effect]:
        request = event.request
        if self._life.exit or (self._life.shutdown and not isinstance(request, Cancel)):
            return [SendAnswer(event.number, ShuttingDown("the worker is shutting down; start a new one"))]
        if request.id is not None and self._requests.find(request.id):
            why = f"a request with id {request.id!r} is still running; choose another id"
            return [SendAnswer(event.number, DuplicateId(why))]
        accepted = ActiveRequest.of(event.number, request, now)
        self._requests.add(accepted)
        if accepted.start is StartRule.AT_ONCE:
            return [_started(accepted)]
        self._start_order.has_changed = True
        if isinstance(request, Shutdown):
            self._life.shutdown = accepted
        return []

    def _start_requests(self, _: events.StartRequests, __: float) -> list[Effect]:
        if not self._start_order.has_changed:
            return []
        startable = self._start_order.startable(self._requests, is_loading=self._life.startup is not None)
        # A shutdown answers last: what has come by now is answered first.
        shutdown = self._life.shutdown
        return [HandleEvents(each.number) if each is shutdown else _started(each) for each in startable]

    def _start_shutdown(self, event: events.EventsHandled, _: float) -> list[Effect]:
        request = self._requests.get(event.number)
        return [_started(request)] if request is not None and request.phase is Phase.WAITING else []

    def _resume_paused(self, _: events.ResumePaused, __: float) -> list[Effect]:
        return self._execution.resume_paused()

    def _load_at_start(self, event: events.LoadAtStart, now: float) -> list[Effect]:
        self._life.startup = ActiveRequest.of(STARTUP, event.request, now)
        self._execution.pause(self._life.startup)
        return []

    def _find(self, number: int) -> ActiveRequest | None:
        return self._life.startup if number == STARTUP else self._requests.get(number)

    # Tasks

    def _task_yielded(self, event: events.TaskYielded, now: float) -> list[Effect]:
        request, yielded = self._find(event.number), event.yielded
        if request is None or request.phase is not Phase.RUNNING:
            return []
        if isinstance(yielded, CancelRequests):
            targets = self._targets(yielded.target, request)
            effects = self._endings.end_all(targets, Cancelled("the request was cancelled"), now)
            return [*effects, ResumeTask(request.number, len(targets))]
        if isinstance(yielded, DescribeRequests):
            overview = self._execution.overview(self._requests, self._life.startup is not None, now)
            return [ResumeTask(request.number, overview)]
        return self._execution.carry_on(request, yielded)

    def _task_returned(self, event: events.TaskReturned, now: float) -> list[Effect]:
        request = self._find(event.number)
        if request is None or request.phase is not Phase.RUNNING:
            return []
        return self._endings.finish(request, event.result, now)

    def _task_failed(self, event: events.TaskFailed, now: float) -> list[Effect]:
        request = self._find(event.number)
        if request is None or request.phase is not Phase.RUNNING:
            return []
        return self._endings.finish(request, self._execution.with_remains(request, event.error), now)

    def _task_stopped(self, event: events.TaskStopped, now: float) -> list[Effect]:
        request = self._find(event.number)
        if request is None or request.phase is not Phase.STOPPING:
            return []
        return self._endings.finish(request, self._execution.stopped(request, event.texts), now)

    def _targets(self, target: Id | None, canceller: ActiveRequest) -> list[ActiveRequest]:
        """The request with this id, or all that came before the one that cancels."""
        if target is not None:
            found = self._requests.find(target)
            return [found] if found is not None and found is not canceller and not found.is_ending else []
        # A shutdown before it gets what it waits for.
        return [
            request
            for request in self._requests
            if request.number < canceller.number and request is not self._life.shutdown and not request.is_ending
        ]

    # The engine

    def _jobs_submitted(self, event: events.JobsSubmitted, _: float) -> list[Effect]:
        return self._execution.jobs_submitted(event, self._find(event.number))

    def _download_message(self, event: events.DownloadMessage, _: float) -> list[Effect]:
        return self._execution.download_message(event, self._find(event.number))

    def _work_done(self, event: events.WorkDone, _: float) -> list[Effect]:
        return self._execution.work_done(self._find(event.number))

    def _tokens_generated(self, event: events.TokensGenerated, now: float) -> list[Effect]:
        return self._execution.tokens_generated(event, now)

    def _text_came(self, event: TextCame, _: float) -> list[Effect]:
        return self._execution.text_came(event)

    def _job_ended(self, event: JobEnded, _: float) -> list[Effect]:
        return self._execution.job_ended(event)

    def _job_lost(self, event: events.JobLost, now: float) -> list[Effect]:
        return self._endings.end(self._execution.request_of(event.ticket), event.error, now)

    def _engine_failed(self, event: events.EngineFailed, now: float) -> list[Effect]:
        return self._endings.end_all(self._execution.generating(), event.error, now)

    # Ends

    def _end_late(self, _: events.TimePassed, now: float) -> list[Effect]:
        return self._endings.end_late(now)

    def _end_by_signal(self, event: events.SignalReceived, now: float) -> list[Effect]:
        return self._endings.end_now(event.exit_code, "the worker was told to end by a signal", now)

    def _end_with_parent(self, _: events.ParentDied, now: float) -> list[Effect]:
        return self._endings.end_now(0, "the process that started the worker is gone", now)

    def _abandon(self, event: events.Abandon, now: float) -> list[Effect]:
        return self._endings.abandon(event.reason, now)

    def _input_ended(self, _: events.InputEnded, __: float) -> list[Effect]:
        self._life.input_ended = True
        return []

    def _output_closed(self, _: events.OutputClosed | events.OutputWritten, __: float) -> list[Effect]:
        self._life.exit = self._life.exit or Exit(0, may_wait=False)
        return []


def _started(request: ActiveRequest) -> Effect:
    request.move(Trigger.START)
    return StartTask(request.number, request.request, request.accepted_at)


_HANDLERS: dict[type[Any], Callable[[Core, Any, float], list[Effect]]] = {
    events.RequestReceived: Core._accept,
    events.RequestRefused: Core._refuse,
    events.StartRequests: Core._start_requests,
    events.EventsHandled: Core._start_shutdown,
    events.ResumePaused: Core._resume_paused,
    events.LoadAtStart: Core._load_at_start,
    events.TaskYielded: Core._task_yielded,
    events.TaskReturned: Core._task_returned,
    events.TaskFailed: Core._task_failed,
    events.TaskStopped: Core._task_stopped,
    events.JobsSubmitted: Core._jobs_submitted,
    events.DownloadMessage: Core._download_message,
    events.WorkDone: Core._work_done,
    events.TokensGenerated: Core._tokens_generated,
    TextCame: Core._text_came,
    JobEnded: Core._job_ended,
    events.JobLost: Core._job_lost,
    events.EngineFailed: Core._engine_failed,
    events.TimePassed: Core._end_late,
    events.SignalReceived: Core._end_by_signal,
    events.ParentDied: Core._end_with_parent,
    events.Abandon: Core._abandon,
    events.InputEnded: Core._input_ended,
    events.OutputClosed: Core._output_closed,
    events.OutputWritten: Core._output_closed,
}

if missing := set(get_args(events.CoreEvent)) - _HANDLERS.keys():
    raise RuntimeError(f"the core has no handler for {missing}")
