"""The core on its own: whatever happens, in whatever order, each request is answered once."""

from __future__ import annotations

import random

import pytest

from mlx_sidecar.engine.compilation import Compilation
from mlx_sidecar.engine.job import Job, JobEnded, JobResult, ModelFacts, Prompt, TextCame
from mlx_sidecar.errors import Cancelled, Internal, SidecarError
from mlx_sidecar.hub.messages import Failed
from mlx_sidecar.protocol.codec import Accepted, decode
from mlx_sidecar.protocol.responses import CancelCount, Measure, Result
from mlx_sidecar.server import events
from mlx_sidecar.server.core import Core
from mlx_sidecar.server.effects import (
    AddWarnings,
    AwaitWork,
    Effect,
    HandleEvents,
    ReadDownload,
    ResumeTask,
    SendAnswer,
    SendProgress,
    StartTask,
    StopTask,
    SubmitJobs,
)
from mlx_sidecar.server.requests import TRANSITIONS, ActiveRequest, Phase, Trigger
from mlx_sidecar.tasks.task import (
    AwaitCompilation,
    AwaitDownload,
    CancelRequests,
    DescribeRequests,
    Pause,
    RequestOverview,
    RunJobs,
    Warn,
)

JOB = Job(prompt=Prompt((1, 2, 3)), max_tokens=5, streamed=True)
RESULT = JobResult("text", "stop", 3, 0, 2, 0.0, 0.0, 0.0)
DONE = CancelCount(cancelled=0)


class NoEngine:
    """What the core may see of an engine: one without a model."""

    facts: ModelFacts | None = None
    previous_model = "none"

    def tokens_of(self, _: int, /) -> int:
        """Each job has one token."""
        return 1


class Scene:
    """A core, and what it has wanted so far. Time passes only where a test lets it."""

    def __init__(self) -> None:
        self.core, self.now = Core(NoEngine(), 2), 0.0
        self.answers: dict[int, Result | SidecarError] = {}
        self.number = 0

    def tell(self, event: events.CoreEvent) -> list[Effect]:
        """The effects of an event that aren't output; output of answered requests is a failure."""
        rest: list[Effect] = []
        for effect in self.core.handle(event, self.now):
            if isinstance(effect, SendProgress | AddWarnings | SendAnswer):
                assert effect.number not in self.answers
            if isinstance(effect, SendAnswer):
                self.answers[effect.number] = effect.outcome
            elif not isinstance(effect, SendProgress | AddWarnings):
                rest.append(effect)
        return rest

    def receive(self, line: str) -> list[Effect]:
        """Accept a request."""
        read = decode(line.encode())
        assert isinstance(read, Accepted), read
        self.number += 1
        return self.tell(events.RequestReceived(self.number, read.request))


def test_nothing_follows_the_end_and_everything_leads_to_it() -> None:
    """The table has no way out of ENDED; what has started can be stopped; STOPPING can only end."""
    assert not [phase for phase, _ in TRANSITIONS if phase is Phase.ENDED]
    for phase in set(Phase) - {Phase.ENDED}:
        assert TRANSITIONS[phase, Trigger.END] is Phase.ENDED
    assert {trigger for phase, trigger in TRANSITIONS if phase is Phase.STOPPING} == {Trigger.END}
    for phase in set(Phase) - {Phase.STOPPING, Phase.ENDED}:
        assert TRANSITIONS[phase, Trigger.STOP] is Phase.STOPPING


def test_a_transition_that_the_table_lacks_is_a_bug() -> None:
    """It isn't passed over."""
    read = decode(b'{"command":"status"}')
    assert isinstance(read, Accepted)
    request = ActiveRequest.of(1, read.request, 0.0)
    with pytest.raises(RuntimeError, match="WAITING got RESUME"):
        request.move(Trigger.RESUME)


def test_a_cancelled_text_comes_with_what_the_engine_kept_of_it() -> None:
    """The answer waits for it, and `cancel` is answered behind it."""
    scene = Scene()
    scene.receive('{"command":"generate","prompt":"x","id":"text"}')
    assert len(scene.tell(events.StartRequests())) == 1
    (submit,) = scene.tell(events.TaskYielded(1, RunJobs([JOB])))
    assert isinstance(submit, SubmitJobs)
    scene.tell(events.JobsSubmitted(1, [7], submit.yielded))
    scene.tell(TextCame(7, "some"))
    (start,) = scene.receive('{"command":"cancel","target":"text"}')
    assert isinstance(start, StartTask)
    stop, resume = scene.tell(events.TaskYielded(2, CancelRequests("text")))
    assert (stop, resume) == (StopTask(1, [7]), ResumeTask(2, 1))
    assert not scene.answers
    scene.tell(events.TaskStopped(1, ["some tex"]))
    outcome = scene.answers[1]
    assert isinstance(outcome, Cancelled)
    assert outcome.data == {"text": "some tex"}


def test_a_job_that_fails_takes_its_request_along() -> None:
    """Its other jobs leave the engine first."""
    scene = Scene()
    scene.receive('{"command":"generate","prompt":"x"}')
    scene.tell(events.StartRequests())
    scene.tell(events.JobsSubmitted(1, [7, 8, 9], RunJobs([JOB] * 3)))
    scene.tell(JobEnded(7, RESULT))
    assert scene.tell(events.JobLost(8, Internal("a bug"))) == [StopTask(1, [8, 9])]
    assert scene.tell(JobEnded(9, RESULT)) == []
    scene.tell(events.TaskStopped(1, ["", ""]))
    assert isinstance(scene.answers[1], Internal)


def test_jobs_of_a_request_that_has_ended_meanwhile_leave_the_engine() -> None:
    """They would run for nobody."""
    scene = Scene()
    scene.receive('{"command":"generate","prompt":"x"}')
    scene.tell(events.StartRequests())
    scene.tell(events.TaskFailed(1, Internal("a bug")))
    assert scene.tell(events.JobsSubmitted(1, [7], RunJobs([JOB]))) == [StopTask(1, [7])]


LINES = (
    '{"command":"generate","prompt":"x"%s}',
    '{"command":"generate","prompt":"x","timeout_s":3%s}',
    '{"command":"summarize","content":"x"%s}',
    '{"command":"load-model","model_path":"demo"%s}',
    '{"command":"unload-model"%s}',
    '{"command":"download-model","repo_id":"a/b"%s}',
    '{"command":"list-models","timeout_s":1%s}',
    '{"command":"status"%s}',
    '{"command":"cancel"%s}',
    '{"command":"cancel","target":1%s}',
)


class Walk(Scene):
    """Random events; what the core wants is done at random, too."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._random = random.Random(seed)
        self._listening: list[int] = []
        self._awaiting: list[int] = []
        self._tickets: list[int] = []
        self._next_ticket = 1

    def walk(self) -> None:
        """Take some hundred steps, then end in one of the ways that there are."""
        for _ in range(300):
            self._step()
        ends: tuple[events.CoreEvent, ...] = (events.SignalReceived(15), events.ParentDied(), events.Abandon("the end"))
        self._do(self.tell(self._random.choice(ends)))
        assert self.answers.keys() == set(range(1, self.number + 1))
        assert self.core.next_deadline() is None

    def _step(self) -> None:
        match self._random.randrange(9):
            case 0 | 1:
                some_id = f',"id":{self._random.randrange(5)}' if self._random.random() < 0.6 else ""
                self._do(self.receive(self._random.choice(LINES) % some_id))
            case 2 | 3:
                while effects := self.tell(events.StartRequests()):
                    self._do(effects)
            case 4:
                self._do(self.tell(events.ResumePaused()))
            case 5:
                self.now += self._random.random()
                self._do(self.tell(events.TimePassed()))
            case 6 if self._tickets:
                ticket = self._random.choice(self._tickets)
                lost = events.JobLost(ticket, Internal("a bug"))
                event = self._random.choice((TextCame(ticket, "x"), JobEnded(ticket, RESULT), lost))
                if not isinstance(event, TextCame):
                    self._tickets.remove(ticket)
                self._do(self.tell(event))
            case 7 if self._listening:
                number = self._listening.pop()
                self._do(self.tell(events.DownloadMessage(number, Failed(code="hub_error", message="no"))))

            case 8 if self._awaiting:
                self._do(self.tell(events.WorkDone(self._awaiting.pop())))

    def _do(self, effects: list[Effect]) -> None:
        """Depth first, as the loop does."""
        for effect in effects:
            match effect:
                case StartTask(number):
                    self._do(self.tell(self._next_of_task(number)))
                case ResumeTask(number, RequestOverview() | int()):
                    self._do(self.tell(events.TaskReturned(number, DONE)))
                case ResumeTask(number):
                    self._do(self.tell(self._next_of_task(number)))
                case SubmitJobs(number, yielded):
                    tickets = list(range(self._next_ticket, self._next_ticket + len(yielded.jobs)))
                    self._next_ticket += len(tickets)
                    self._tickets += tickets
                    self._do(self.tell(events.JobsSubmitted(number, tickets, yielded)))
                case StopTask(number, tickets):
                    self._tickets = [ticket for ticket in self._tickets if ticket not in tickets]
                    self._do(self.tell(events.TaskStopped(number, [""] * len(tickets))))
                case ReadDownload(number):
                    self._listening.append(number)
                case AwaitWork(number):
                    self._awaiting.append(number)
                case HandleEvents(number):
                    self._do(self.tell(events.EventsHandled(number)))

    def _next_of_task(self, number: int) -> events.CoreEvent:
        wishes = (
            RunJobs([JOB] * self._random.randrange(1, 4), total=3),
            Measure(progress=1.0),
            Pause(),
            Warn(("a warning",)),
            AwaitDownload(1),
            AwaitCompilation(Compilation(int)),
            CancelRequests(self._random.choice((None, 1, 2))),
            DescribeRequests(),
        )
        next_events: list[events.CoreEvent] = [events.TaskYielded(number, yielded) for yielded in wishes]
        next_events += [events.TaskReturned(number, DONE), events.TaskFailed(number, Internal("a bug"))]
        return self._random.choice(next_events)


@pytest.mark.parametrize("seed", range(100))
def test_each_request_is_answered_once_whatever_happens(seed: int) -> None:
    """Requests, engine, tasks and time in any order; at the end nothing is left."""
    Walk(seed).walk()


@pytest.mark.parametrize("ids", ["", ',"id":"last"'])
def test_a_shutdown_is_answered_last_however_it_ends(ids: str) -> None:
    """What runs is stopped first, also where the shutdown itself is out of time."""
    scene = Scene()
    scene.receive('{"command":"generate","prompt":"x","id":1}')
    scene.tell(events.StartRequests())
    scene.tell(events.JobsSubmitted(1, [7], RunJobs([JOB])))
    scene.receive(f'{{"command":"shutdown","timeout_s":1{ids}}}')
    scene.receive('{"command":"list-models","id":2}')
    scene.now = 2.0
    (stop,) = scene.tell(events.TimePassed())
    assert scene.core.exit is None
    assert isinstance(stop, StopTask)
    scene.tell(events.TaskStopped(1, ["x"]))
    assert list(scene.answers) == [3, 1, 2]
    assert scene.core.exit is not None
