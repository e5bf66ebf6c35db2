"""What started requests do: their tasks' wishes, their jobs in the engine, and what they leave when stopped."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from mlx_sidecar.engine.job import JobEnded, ModelFacts, TextCame
from mlx_sidecar.errors import Cancelled, SidecarError, TimedOut
from mlx_sidecar.protocol.requests import Cancel, LoadModel, Status
from mlx_sidecar.protocol.responses import Delta, Measure, RequestStatus, Result
from mlx_sidecar.server.effects import (
    AddWarnings,
    AwaitWork,
    Effect,
    ReadDownload,
    ResumeTask,
    SendAnswer,
    SendProgress,
    StartTask,
    StopTask,
    SubmitJobs,
)
from mlx_sidecar.server.events import DownloadMessage, JobsSubmitted, TokensGenerated
from mlx_sidecar.server.requests import ActiveRequest, Phase, Trigger
from mlx_sidecar.server.token_rate import TokenRate
from mlx_sidecar.tasks.task import AwaitCompilation, AwaitDownload, Pause, RequestOverview, RunJobs, TaskYield, Warn


class EngineView(Protocol):
    """What the core may ask the engine: facts that are at hand."""

    @property
    def facts(self) -> ModelFacts | None:
        """What is loaded."""

    @property
    def previous_model(self) -> str:
        """What a load that ends now leaves of the model before it: kept, released, or none."""

    def tokens_of(self, ticket: int, /) -> int:
        """How many tokens a job has generated so far."""


class Execution:
    """The jobs and tasks of all requests that have started."""

    def __init__(self, engine: EngineView) -> None:
        self._engine = engine
        self._rate = TokenRate()
        self._by_ticket: dict[int, ActiveRequest] = {}
        self._paused: list[ActiveRequest] = []

    @property
    def has_paused(self) -> bool:
        """Whether a task waits for the next iteration of the loop."""
        return bool(self._paused)

    def pause(self, request: ActiveRequest) -> None:
        """Let a task go on, or start, with the next iteration of the loop."""
        self._paused.append(request)

    def resume_paused(self) -> list[Effect]:
        """Let each paused task go on."""
        paused, self._paused = self._paused, []
        effects: list[Effect] = []
        for request in paused:
            if request.phase is Phase.PAUSED:
                request.move(Trigger.RESUME)
                effects.append(ResumeTask(request.number, None))
            elif request.phase is Phase.WAITING:
                request.move(Trigger.START)
                effects.append(StartTask(request.number, request.request, request.accepted_at))
        return effects

    def carry_on(self, request: ActiveRequest, yielded: TaskYield) -> list[Effect]:
        """A task wants something done before it goes on."""
        match yielded:
            case RunJobs():
                return [SubmitJobs(request.number, yielded)]
            case AwaitDownload(download):
                request.move(Trigger.LISTEN)
                return [ReadDownload(request.number, download)]
            case AwaitCompilation(work):
                request.move(Trigger.AWAIT)
                return [AwaitWork(request.number, work)]
            case Measure() | Pause() | Warn():
                request.move(Trigger.PAUSE)
                self.pause(request)
        if isinstance(yielded, Warn):
            return [AddWarnings(request.number, yielded.warnings)]
        return [SendProgress(request.number, yielded)] if isinstance(yielded, Measure) else []

    def jobs_submitted(self, event: JobsSubmitted, request: ActiveRequest | None) -> list[Effect]:
        """The engine has a task's jobs."""
        if request is None or request.phase is not Phase.RUNNING:
            return [StopTask(event.number, event.tickets)]
        request.move(Trigger.GENERATE)
        request.round.begin(event.yielded, event.tickets)
        self._by_ticket.update(dict.fromkeys(event.tickets, request))
        return []

    def download_message(self, event: DownloadMessage, request: ActiveRequest | None) -> list[Effect]:
        """A download said something."""
        if request is None or request.phase is not Phase.LISTENING:
            return []
        request.move(Trigger.RESUME)
        return [ResumeTask(event.number, event.message)]

    def work_done(self, request: ActiveRequest | None) -> list[Effect]:
        """What a task waited for is done."""
        if request is None or request.phase is not Phase.AWAITING:
            return []
        request.move(Trigger.RESUME)
        return [ResumeTask(request.number, None)]

    # The engine's events

    def tokens_generated(self, event: TokensGenerated, now: float) -> list[Effect]:
        """The engine made a step."""
        self._rate.add(event.count, now)
        return []

    def text_came(self, event: TextCame) -> list[Effect]:
        """More text of a job."""
        request = self._by_ticket.get(event.ticket)
        if request is None:
            return []
        jobs = request.round.jobs
        if len(jobs) == 1:
            request.round.pieces.append(event.text)
        return [SendProgress(request.number, Delta(delta=event.text))] if jobs[event.ticket].streamed else []

    def job_ended(self, event: JobEnded) -> list[Effect]:
        """A job is done; after the last one of its round the task goes on."""
        request = self._by_ticket.pop(event.ticket, None)
        if request is None:
            return []
        jobs, results = request.round.jobs, request.round.results
        results[event.ticket] = event.result
        measure = request.round.progress()
        effects: list[Effect] = [SendProgress(request.number, measure)] if measure else []
        if len(results) == len(jobs):
            request.move(Trigger.RESUME)
            effects.append(ResumeTask(request.number, [results[ticket] for ticket in jobs]))
        return effects

    def request_of(self, ticket: int) -> ActiveRequest | None:
        """Whose job this is."""
        return self._by_ticket.get(ticket)

    def generating(self) -> list[ActiveRequest]:
        """The requests that have jobs in the engine."""
        return list(dict.fromkeys(self._by_ticket.values()))

    # Endings

    def stop(self, request: ActiveRequest, outcome: Result | SidecarError) -> list[Effect]:
        """End a request that has started: first its jobs leave the engine and its task is closed."""
        request.outcome = self.with_remains(request, outcome)
        tickets = request.round.unfinished
        request.round.tokens_before += sum(self._engine.tokens_of(ticket) for ticket in tickets)
        for ticket in tickets:
            self._by_ticket.pop(ticket, None)
        request.move(Trigger.STOP)
        return [StopTask(request.number, tickets)]

    def stopped(self, request: ActiveRequest, texts: list[str]) -> Result | SidecarError:
        """The outcome of a request whose jobs left these texts in the engine."""
        outcome = request.outcome
        assert outcome is not None
        if isinstance(outcome, Cancelled | TimedOut) and len(request.round.jobs) == 1 and texts:
            outcome.data["text"] = texts[0]
        return outcome

    def with_remains(
        self, request: ActiveRequest, outcome: Result | SidecarError, text: str = ""
    ) -> Result | SidecarError:
        """What is answered to a request that is ended from outside: with what it leaves behind."""
        if isinstance(outcome, Cancelled | TimedOut):
            # One exception may end many requests.
            return type(outcome)(outcome.message, {"text": text, **self._remains(request)})
        return outcome

    def _remains(self, request: ActiveRequest) -> dict[str, str]:
        if not isinstance(request.request, LoadModel):
            return {}
        if request.has_started:
            return {"previous_model": self._engine.previous_model}
        # What the load before it has let go was never there for this one.
        return {"previous_model": "kept" if self._engine.facts else "none"}

    def answer(self, request: ActiveRequest, outcome: Result | SidecarError, now: float) -> SendAnswer:
        """The last line of a request."""
        return SendAnswer(
            request.number,
            outcome,
            input_tokens=request.round.input_tokens,
            output_tokens=request.round.tokens_before + request.round.tokens_of_results,
            seconds=now - request.accepted_at,
        )

    # For status

    def overview(self, requests: Iterable[ActiveRequest], is_starting: bool, now: float) -> RequestOverview:
        """What `status` says of the requests; those that are answered at once are left out."""
        listed = [request for request in requests if not isinstance(request.request, Status | Cancel)]
        return RequestOverview([self._status_of(request) for request in listed], is_starting, self._rate.per_s(now))

    def _status_of(self, request: ActiveRequest) -> RequestStatus:
        running = sum(self._engine.tokens_of(ticket) for ticket in request.round.unfinished)
        return RequestStatus(
            id=request.request.id,
            command=request.command.name,
            state="running" if request.has_started else "queued",
            tokens=request.round.tokens_before + request.round.tokens_of_results + running,
        )
