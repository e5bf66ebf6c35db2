"""Requests from acceptance to their answer: the phases, the one transition table, and the table of all that are active.

A request ends once, because no phase follows ENDED.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum, auto

from msgspec import Struct, field

from mlx_sidecar.engine.job import Job, JobResult
from mlx_sidecar.errors import SidecarError
from mlx_sidecar.protocol.commands import Command, StartRule, command_of, start_rule
from mlx_sidecar.protocol.requests import Id, Request
from mlx_sidecar.protocol.responses import Measure, Result
from mlx_sidecar.tasks.task import RunJobs


class Phase(IntEnum):
    """Where a request is."""

    WAITING = auto()
    """Accepted and not started."""
    RUNNING = auto()
    """Its task computes."""
    PAUSED = auto()
    """Its task goes on in the next iteration of the loop."""
    GENERATING = auto()
    """Its task waits for the results of jobs."""
    LISTENING = auto()
    """Its task waits for a message of a download."""
    AWAITING = auto()
    """Its task waits for work on another thread."""
    STOPPING = auto()
    """Its outcome is known; its jobs and its task are being stopped, or other requests must end before it."""
    ENDED = auto()


class Trigger(IntEnum):
    """What moves a request on."""

    START = auto()
    PAUSE = auto()
    GENERATE = auto()
    LISTEN = auto()
    AWAIT = auto()
    RESUME = auto()
    STOP = auto()
    END = auto()


TRANSITIONS: dict[tuple[Phase, Trigger], Phase] = {
    (Phase.WAITING, Trigger.START): Phase.RUNNING,
    (Phase.WAITING, Trigger.STOP): Phase.STOPPING,
    (Phase.WAITING, Trigger.END): Phase.ENDED,
    (Phase.RUNNING, Trigger.PAUSE): Phase.PAUSED,
    (Phase.RUNNING, Trigger.GENERATE): Phase.GENERATING,
    (Phase.RUNNING, Trigger.LISTEN): Phase.LISTENING,
    (Phase.RUNNING, Trigger.AWAIT): Phase.AWAITING,
    (Phase.RUNNING, Trigger.STOP): Phase.STOPPING,
    (Phase.RUNNING, Trigger.END): Phase.ENDED,
    (Phase.PAUSED, Trigger.RESUME): Phase.RUNNING,
    (Phase.PAUSED, Trigger.STOP): Phase.STOPPING,
    (Phase.PAUSED, Trigger.END): Phase.ENDED,
    (Phase.GENERATING, Trigger.RESUME): Phase.RUNNING,
    (Phase.GENERATING, Trigger.STOP): Phase.STOPPING,
    (Phase.GENERATING, Trigger.END): Phase.ENDED,
    (Phase.LISTENING, Trigger.RESUME): Phase.RUNNING,
    (Phase.LISTENING, Trigger.STOP): Phase.STOPPING,
    (Phase.LISTENING, Trigger.END): Phase.ENDED,
    (Phase.AWAITING, Trigger.RESUME): Phase.RUNNING,
    (Phase.AWAITING, Trigger.STOP): Phase.STOPPING,
    (Phase.AWAITING, Trigger.END): Phase.ENDED,
    (Phase.STOPPING, Trigger.END): Phase.ENDED,
}
"""Every other pair is a bug. A request that has started is ended without STOP by an answer, or by the watchdog."""


class JobRound(Struct):
    """The jobs that a request runs at the moment, and what the rounds before used."""

    yielded: RunJobs | None = None
    jobs: dict[int, Job] = field(default_factory=dict)
    results: dict[int, JobResult] = field(default_factory=dict)
    pieces: list[str] = field(default_factory=list)
    """The text of this round as far as it came, for the watchdog's thread, which can't ask the engine."""
    input_tokens: int = 0
    """Of all rounds' prompts."""
    tokens_before: int = 0
    """Generated in the rounds before this one."""

    def begin(self, yielded: RunJobs, tickets: list[int]) -> None:
        """A new round."""
        self.tokens_before += self.tokens_of_results
        self.input_tokens += sum(len(job.prompt) for job in yielded.jobs)
        self.yielded, self.results, self.pieces = yielded, {}, []
        self.jobs = dict(zip(tickets, yielded.jobs, strict=True))

    @property
    def unfinished(self) -> list[int]:
        """The tickets of the jobs that are still in the engine."""
        return [ticket for ticket in self.jobs if ticket not in self.results]

    @property
    def tokens_of_results(self) -> int:
        """Generated in this round by the jobs that have ended."""
        return sum(result.output_tokens for result in self.results.values())

    @property
    def text_so_far(self) -> str:
        """The unfinished text as far as it is certain, if it is of one piece."""
        return "".join(self.pieces) if len(self.jobs) == 1 and not self.results else ""

    def progress(self) -> Measure | None:
        """How far a round of many jobs is."""
        yielded = self.yielded
        if yielded is None or yielded.total <= 1:
            return None
        done = yielded.done + len(self.results)
        percent = round(yielded.begin + (yielded.end - yielded.begin) * done / yielded.total, 1)
        return Measure(progress=percent, chunks_done=done, chunks_total=yielded.total)


class ActiveRequest(Struct, eq=False):
    """One request, from the moment that its line was read to its answer."""

    number: int
    """In the order in which the requests came."""
    request: Request
    command: Command
    start: StartRule
    accepted_at: float
    phase: Phase = Phase.WAITING
    round: JobRound = field(default_factory=JobRound)
    outcome: Result | SidecarError | None = None
    """Known from STOPPING on."""

    @staticmethod
    def of(number: int, request: Request, accepted_at: float) -> ActiveRequest:
        """A request that was just accepted."""
        return ActiveRequest(number, request, command_of(request), start_rule(request), accepted_at)

    def move(self, trigger: Trigger) -> None:
        """Change the phase. Raises RuntimeError where the table has no such transition."""
        phase = TRANSITIONS.get((self.phase, trigger))
        if phase is None:
            raise RuntimeError(f"a request that is {self.phase.name} got {trigger.name}")
        self.phase = phase

    @property
    def has_started(self) -> bool:
        """Whether its handler was called."""
        return self.phase is not Phase.WAITING

    @property
    def is_ending(self) -> bool:
        """Whether its outcome is known."""
        return self.phase in (Phase.STOPPING, Phase.ENDED)


class RequestTable:
    """All requests that aren't answered yet, in the order they came."""

    def __init__(self) -> None:
        self._requests: dict[int, ActiveRequest] = {}
        self._by_id: dict[Id, ActiveRequest] = {}
        self._timed: dict[int, ActiveRequest] = {}

    def __len__(self) -> int:
        return len(self._requests)

    def __iter__(self) -> Iterator[ActiveRequest]:
        """Of a copy: whoever iterates may end requests."""
        return iter(list(self._requests.values()))

    def add(self, request: ActiveRequest) -> None:
        """Take a request whose id isn't in here."""
        self._requests[request.number] = request
        if request.request.id is not None:
            self._by_id[request.request.id] = request
        if request.request.timeout_s is not None:
            self._timed[request.number] = request

    def remove(self, request: ActiveRequest) -> None:
        """It is answered."""
        del self._requests[request.number]
        self._timed.pop(request.number, None)
        if request.request.id is not None:
            del self._by_id[request.request.id]

    def get(self, number: int) -> ActiveRequest | None:
        """The request of this number."""
        return self._requests.get(number)

    def find(self, wanted: Id) -> ActiveRequest | None:
        """The request of this id."""
        return self._by_id.get(wanted)

    def deadlines(self) -> list[tuple[float, ActiveRequest]]:
        """Of the requests that have one."""
        return [(request.accepted_at + (request.request.timeout_s or 0), request) for request in self._timed.values()]
