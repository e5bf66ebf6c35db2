"""What happens: outside, where it reaches the loop through the event queue, and inside. Plain data."""

from __future__ import annotations

import signal

from msgspec import Struct

from mlx_sidecar.engine.job import JobEnded, TextCame
from mlx_sidecar.errors import SidecarError
from mlx_sidecar.hub.messages import Message
from mlx_sidecar.protocol.framing import Line
from mlx_sidecar.protocol.requests import LoadModel, Request
from mlx_sidecar.protocol.responses import Result
from mlx_sidecar.tasks.task import RunJobs, TaskYield

# Outside


class LineReceived(Struct, frozen=True):
    """The next line of stdin; it holds its place in the admission until it is answered."""

    line: Line


class InputEnded(Struct, frozen=True):
    """stdin is at its end, or can't be read any more."""


class OutputClosed(Struct, frozen=True):
    """Nobody reads stdout any more."""


class ParentDied(Struct, frozen=True):
    """The process that spawned the worker is gone."""


class SignalReceived(Struct, frozen=True):
    """SIGINT, SIGTERM or SIGHUP, for the first time."""

    number: int

    @property
    def exit_code(self) -> int:
        """0 for a polite request to end, 130 for Ctrl-C, as shells expect."""
        return 130 if self.number == signal.SIGINT else 0


class DownloadOutput(Struct, frozen=True):
    """A download's child process has written a line; an empty one is its end."""

    download: int
    line: bytes


class WorkDone(Struct, frozen=True):
    """What the task of the request with this number waits for is done."""

    number: int


class ThreadFailed(Struct, frozen=True):
    """A thread that the loop can't do without has ended by a bug, or for want of memory."""

    error: BaseException


class OutputWritten(Struct, frozen=True):
    """The writer was closed and has written everything."""


Event = (
    LineReceived
    | DownloadOutput
    | WorkDone
    | InputEnded
    | OutputClosed
    | OutputWritten
    | ParentDied
    | SignalReceived
    | ThreadFailed
)
"""What the event queue holds."""

# Inside


class RequestReceived(Struct, frozen=True):
    """A line was read as a request; numbers grow."""

    number: int
    request: Request


class RequestRefused(Struct, frozen=True):
    """A line was read that is no request."""

    number: int
    error: SidecarError


class TimePassed(Struct, frozen=True):
    """The loop begins another iteration: timeouts and the end of the grace period are looked for."""


class StartRequests(Struct, frozen=True):
    """Let waiting requests start. To be told again until it has no effects."""


class EventsHandled(Struct, frozen=True):
    """All events that were waiting have been handled, as `HandleEvents` wanted."""

    number: int


class ResumePaused(Struct, frozen=True):
    """Let tasks go on that let the loop look at its events."""


class LoadAtStart(Struct, frozen=True):
    """The worker begins with this model; nobody asked for it on the wire."""

    request: LoadModel


class TaskYielded(Struct, frozen=True):
    """A task wants something done."""

    number: int
    yielded: TaskYield


class TaskReturned(Struct, frozen=True):
    """A task gave its response."""

    number: int
    result: Result


class TaskFailed(Struct, frozen=True):
    """A task raised, or its jobs weren't taken; it is closed."""

    number: int
    error: SidecarError


class TaskStopped(Struct, frozen=True):
    """A task is closed and its jobs are out of the engine; `texts` are theirs as far as they came."""

    number: int
    texts: list[str]


class JobsSubmitted(Struct, frozen=True):
    """The engine took a task's jobs."""

    number: int
    tickets: list[int]
    yielded: RunJobs


class DownloadMessage(Struct, frozen=True):
    """A download said something to the request that listens."""

    number: int
    message: Message


class TokensGenerated(Struct, frozen=True):
    """The engine made a step."""

    count: int


class JobLost(Struct, frozen=True):
    """A job can't go on; the others can."""

    ticket: int
    error: SidecarError


class EngineFailed(Struct, frozen=True):
    """The engine lost all jobs by a bug."""

    error: SidecarError


class Abandon(Struct, frozen=True):
    """The process ends at once: answer every request without asking anybody."""

    reason: str


CoreEvent = (
    RequestReceived
    | RequestRefused
    | TimePassed
    | StartRequests
    | EventsHandled
    | ResumePaused
    | LoadAtStart
    | TaskYielded
    | TaskReturned
    | TaskFailed
    | TaskStopped
    | JobsSubmitted
    | DownloadMessage
    | WorkDone
    | TokensGenerated
    | EngineFailed
    | TextCame
    | JobEnded
    | JobLost
    | Abandon
    | InputEnded
    | OutputClosed
    | OutputWritten
    | ParentDied
    | SignalReceived
)
"""What the core is told."""
