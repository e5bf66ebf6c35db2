"""Which handler a request goes to, and what the loop must know of it beforehand."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import NoReturn

from mlx_sidecar.commands import control, models
from mlx_sidecar.commands.download import download_model
from mlx_sidecar.commands.services import Call, Services
from mlx_sidecar.engine.job import LanguageModel
from mlx_sidecar.protocol.requests import (
    AnyRequest,
    Cancel,
    CheckAvailability,
    DownloadModel,
    Generate,
    GenerateTags,
    ListModels,
    LoadModel,
    ModelInfo,
    ModelRequest,
    Shutdown,
    Status,
    Summarize,
    UnloadModel,
)
from mlx_sidecar.protocol.responses import Result
from mlx_sidecar.tasks.task import Task


class Turn(Enum):
    """When a request may begin."""

    AT_ONCE = auto()
    """The moment it is read."""
    IN_ORDER = auto()
    """Once every barrier before it is through."""
    BARRIER = auto()
    """Once everything before it is through; what comes after it waits."""


def turn_of(request: AnyRequest) -> Turn:
    """When this request may begin (contract, section 4)."""
    match request:
        case Cancel():
            return Turn.AT_ONCE
        case Status():
            return Turn.AT_ONCE if request.id is not None else Turn.IN_ORDER
        case LoadModel() | UnloadModel() | Shutdown():
            return Turn.BARRIER
        case _:
            return Turn.IN_ORDER


def needs_model(request: AnyRequest) -> bool:
    """Whether the request waits for the model that the worker was started with."""
    return not isinstance(request, CheckAvailability | ListModels | Status | Cancel | Shutdown | DownloadModel)


def generates(request: AnyRequest) -> bool:
    """Whether the request takes a place in the batch."""
    return isinstance(request, Generate | GenerateTags | Summarize)


def start(request: AnyRequest, call: Call, services: Services) -> Task:
    """The task of a request."""
    match request:
        case GenerateTags() | Summarize() | Generate():
            return _generation(request, models.loaded(services), call.accepted_at)
        case LoadModel():
            return models.load_model(request, services)
        case CheckAvailability():
            return _at_once(control.check_availability)
        case UnloadModel():
            return _at_once(lambda: models.unload_model(services))
        case ModelInfo():
            return _at_once(lambda: models.model_info(services))
        case ListModels():
            return models.list_models(request)
        case Status():
            return _at_once(lambda: control.status(services))
        case Cancel():
            return _at_once(lambda: control.cancel(request, call, services))
        case Shutdown():
            return _at_once(control.shut_down)
        case DownloadModel():
            return download_model(request, services)
        case _ as never:
            return _assert_never(never)


def _assert_never(value: NoReturn) -> NoReturn:
    """`typing.assert_never` for Python 3.10: mypy proves that nothing gets here."""
    raise AssertionError(f"no handler for {value!r}")


def _generation(request: ModelRequest, model: LanguageModel, accepted_at: float) -> Task:
    """What asks the model. Imported with the first such request: the first answer of all shouldn't wait for it."""
    from mlx_sidecar.tasks.generate import generate
    from mlx_sidecar.tasks.summary import summarize
    from mlx_sidecar.tasks.tags import generate_tags

    match request:
        case GenerateTags():
            return generate_tags(request, model, accepted_at)
        case Summarize():
            return summarize(request, model, accepted_at)
        case Generate():
            return generate(request, model, accepted_at)


def _at_once(answer: Callable[[], Result]) -> Task:
    """A task that is done as soon as it begins."""
    return answer()
    yield  # makes this function a generator
