"""What the core wants done. Plain data; the loop and the front end do it."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from mlx_sidecar.engine.compilation import Compilation
from mlx_sidecar.errors import SidecarError
from mlx_sidecar.protocol.requests import Request
from mlx_sidecar.protocol.responses import Delta, Measure, Result
from mlx_sidecar.tasks.task import RunJobs


class StartTask(Struct, frozen=True):
    """Call the handler of a request and run its task up to its first yield."""

    number: int
    request: Request
    accepted_at: float


class ResumeTask(Struct, frozen=True):
    """Send a task what it waits for, and run it up to its next yield."""

    number: int
    value: object


class SubmitJobs(Struct, frozen=True):
    """Give a task's jobs to the engine."""

    number: int
    yielded: RunJobs


class StopTask(Struct, frozen=True):
    """Take these jobs out of the engine and close the task."""

    number: int
    tickets: list[int]


class ReadDownload(Struct, frozen=True):
    """Give the next message of a download to a request."""

    number: int
    download: int


class AwaitWork(Struct, frozen=True):
    """Have a `WorkDone` put into the event queue when this is done."""

    number: int
    work: Compilation[Any]


class HandleEvents(Struct, frozen=True):
    """Handle all events that are waiting, then tell the core so."""

    number: int


class StartupEnded(Struct, frozen=True):
    """The model of the start is there, or can't be used."""

    error: SidecarError | None


class SendProgress(Struct, frozen=True):
    """A line on the way, for the front end."""

    number: int
    step: Measure | Delta


class AddWarnings(Struct, frozen=True):
    """Warnings for the answer of a request, for the front end."""

    number: int
    warnings: tuple[str, ...]


class SendAnswer(Struct, frozen=True):
    """The line that ends a request, for the front end; the other fields are for the log."""

    number: int
    outcome: Result | SidecarError
    input_tokens: int = 0
    output_tokens: int = 0
    seconds: float = 0.0


Output = SendProgress | AddWarnings | SendAnswer
Effect = (
    StartTask | ResumeTask | SubmitJobs | StopTask | ReadDownload | AwaitWork | HandleEvents | StartupEnded | Output
)


class Exit(Struct, frozen=True):
    """How the worker ends: its exit code, and whether it may wait for stdout's reader to take the last lines."""

    code: int
    may_wait: bool
