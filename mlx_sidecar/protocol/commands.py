"""The registry of commands: one row each. What is true of a command as a whole stands here and nowhere else.

To add a command: its request in `requests`, its result in `responses`, a row here, a handler in `commands`; then
`python -m mlx_sidecar.protocol.generate` writes the clients' functions, protocol.md's tables and the types.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, Literal

from msgspec import Struct

from mlx_sidecar.protocol import requests, responses
from mlx_sidecar.protocol.requests import Request
from mlx_sidecar.protocol.responses import DownloadMeasure, Measure, Result


class StartRule(Enum):
    """When a request may start (protocol.md §4). The values stand in the schema."""

    AT_ONCE = "at once"
    """When it is read."""
    AT_ONCE_WITH_ID = "at once with an id, else in order"
    IN_ORDER = "in order"
    """When every barrier before it has ended that concerns it."""
    BARRIER = "barrier"
    """When every request before it has ended that it concerns; those after it wait for its end.

    One that changes the model concerns the requests that use it, any other all of them; without an id it concerns
    the others without an id as well.
    """


ModelUse = Literal["none", "changes", "needs"]
"""Whether a command has to do with the loaded model: loads or unloads one, or can't be answered without one."""


class Command(Struct, frozen=True):
    """What is true of every request of a command."""

    request: type[Request]
    result: type[Result]
    start: StartRule = StartRule.IN_ORDER
    model: ModelUse = "none"
    generates: bool = False
    """Whether it takes one of the places of the batch, and may stand in a file of requests."""
    progress: type[Measure] | type[DownloadMeasure] | None = None
    """What its progress lines carry; a request with `stream` has deltas as well."""
    method: str = ""
    """The clients' name for it, where that isn't the command's."""

    @property
    def name(self) -> str:
        """As on the wire."""
        return str(self.request.__struct_config__.tag)

    @property
    def function(self) -> str:
        """The name of the Python client's function."""
        return self.method or self.name.replace("-", "_")

    @property
    def streams(self) -> bool:
        """Whether its text may come in pieces."""
        return "stream" in self.request.__struct_fields__

    @property
    def waits_for_model(self) -> bool:
        """Whether it waits for the model that the worker was started with."""
        return self.model != "none"


COMMANDS: dict[str, Command] = {
    command.name: command
    for command in (
        Command(requests.CheckAvailability, responses.Availability),
        Command(requests.LoadModel, responses.ModelLoaded, start=StartRule.BARRIER, model="changes", progress=Measure),
        Command(requests.GenerateTags, responses.Tags, model="needs", generates=True, progress=Measure, method="tags"),
        Command(requests.Summarize, responses.Summary, model="needs", generates=True, progress=Measure),
        Command(requests.Classify, responses.Classified, model="needs", generates=True, progress=Measure),
        Command(requests.DownloadModel, responses.Downloaded, progress=DownloadMeasure),
        Command(requests.ModelInfo, responses.ModelDescription, model="needs"),
        Command(requests.Shutdown, responses.ShutDown, start=StartRule.BARRIER),
        Command(requests.Generate, responses.Generated, model="needs", generates=True, progress=Measure),
        Command(requests.CountTokens, responses.TokenCount, model="needs"),
        Command(requests.Cancel, responses.CancelCount, start=StartRule.AT_ONCE),
        Command(requests.Status, responses.WorkerStatus, start=StartRule.AT_ONCE_WITH_ID),
        Command(requests.UnloadModel, responses.ModelUnloaded, start=StartRule.BARRIER, model="changes"),
        Command(requests.ListModels, responses.ModelList),
        Command(requests.Estimate, responses.Estimated),
    )
}
"""By their names on the wire, in the order of protocol.md."""


def command_of(request: Request) -> Command:
    """The row of a request."""
    return COMMANDS[str(request.__struct_config__.tag)]


def start_rule(request: Request) -> StartRule:
    """When this very request may start."""
    rule = command_of(request).start
    if rule is StartRule.AT_ONCE_WITH_ID:
        return StartRule.AT_ONCE if request.id is not None else StartRule.IN_ORDER
    return rule


def described(command: Command) -> dict[str, Any]:
    """The row as the schema has it, for clients in other languages."""
    return {
        "result": command.result.__name__,
        "start": command.start.value,
        "model": command.model,
        "generates": command.generates,
        "progress": command.progress.__name__ if command.progress else None,
        "needs_fields": _needs_fields(command.request),
    }


def _needs_fields(request: type[Request]) -> bool:
    """Whether a request without any field is refused."""
    try:
        request()
    except (TypeError, ValueError):
        return True
    return False
