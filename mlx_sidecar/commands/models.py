"""Handlers of load-model, unload-model, model-info and list-models.

Modules that look into folders are imported with the first request that names one (lazy: start-up).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import UNSET, convert, structs

from mlx_sidecar.commands.context import HandlerContext, RequestInfo
from mlx_sidecar.commands.handlers import answers, handles
from mlx_sidecar.engine import device
from mlx_sidecar.engine.job import LanguageModel, ModelFacts, TaskFile
from mlx_sidecar.errors import ModelInvalid, ModelNotFound, ModelNotLoaded, NotAvailable, SidecarError
from mlx_sidecar.models.gguf.choice import gguf_within
from mlx_sidecar.models.resolve import Location, absolute
from mlx_sidecar.models.source import MODEL_FIELDS
from mlx_sidecar.models.sources import located
from mlx_sidecar.protocol.requests import ListModels, LoadModel, ModelInfo, UnloadModel
from mlx_sidecar.protocol.responses import (
    ListedModel,
    Measure,
    ModelDescription,
    ModelList,
    ModelLoaded,
    ModelUnloaded,
    Quantization,
    TensorTypeHeld,
)
from mlx_sidecar.tasks.task import Pause, Task

if TYPE_CHECKING:
    from mlx_sidecar.engine.plan import LoadPlan

_MOST_CALIBRATION_BYTES = 4 * 2**20
_MOST_CALIBRATION_VALUES = 50_000
_LISTED_BETWEEN_PAUSES_S = 0.01


def loaded(context: HandlerContext) -> LanguageModel:
    """The model for a task. Raises what kept the worker's own model from loading, or ModelNotLoaded."""
    if context.engine.facts is None and context.startup_failure is not None:
        # A new one each time: an exception that is raised again and again collects all its tracebacks.
        failure = context.startup_failure
        data = {name: value for name, value in failure.data.items() if name != "previous_model"}
        raise type(failure)(failure.message, data)
    return context.engine.model


@handles(LoadModel)
def load_model(request: LoadModel, _: RequestInfo, context: HandlerContext) -> Task:
    """Find the folder, check it, and load it piece by piece."""
    try:
        if not device.is_installed():
            raise NotAvailable("MLX isn't installed here, so no model can be loaded; see check-availability")
        wanted = _plan(request)
    except SidecarError as error:
        error.data["previous_model"] = context.engine.previous_model
        raise
    loading = context.engine.load(wanted)
    while True:
        try:
            done = next(loading)
        except StopIteration as finished:
            context.startup_failure = None
            context.engine.compute_ahead(_beginnings(context.engine.model))
            context.engine.prepare_grammars()
            return ModelLoaded(**structs.asdict(_describe(finished.value)))
        try:
            yield Measure(progress=round(done * 100, 1)) if request.progress else Pause()
        except GeneratorExit:
            loading.close()
            raise


def _beginnings(model: LanguageModel) -> list[Sequence[int]]:
    """What the prompts of the tasks begin with: their examples."""
    from mlx_sidecar.tasks import prompts

    return prompts.beginnings(model)


def _plan(request: LoadModel) -> LoadPlan:
    from mlx_sidecar.engine.plan import plan

    found = _location(request)
    adapter_path = absolute(request.adapter_path) if request.adapter_path else None
    made = plan(found.path, found.name, adapter_path, request.context_length)
    prompts = _task_prompts(found.path)
    if request.calibration_path is None:
        return structs.replace(made, task_prompts=prompts)
    from mlx_sidecar.tasks import calibration_file

    calibration = _calibration(absolute(request.calibration_path))
    return structs.replace(
        made,
        task_prompts=prompts,
        calibration=calibration,
        check_digests=lambda digests: calibration_file.check_model(calibration, digests, prompts),
    )


def _calibration(file: Path) -> TaskFile:
    """The file of `calibration_path`. Raises ModelNotFound, ModelInvalid."""
    import hashlib

    from mlx_sidecar.models.files import parse_json, read_file
    from mlx_sidecar.tasks import calibration_file

    try:
        raw = read_file(file, _MOST_CALIBRATION_BYTES)
        stated = parse_json(raw, _MOST_CALIBRATION_VALUES)
    except FileNotFoundError:
        raise ModelNotFound(f"the calibration {file} does not exist; `mlx-sidecar calibrate` makes one") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ModelInvalid(f"{file} can't be read: {error}", {"file": file.name}) from None
    return TaskFile(str(file), hashlib.sha256(raw).hexdigest(), calibration_file.checked(stated, file))


def _task_prompts(path: Path) -> dict[str, Any] | None:
    """The words that a model is to be asked with, where its folder, or that of its file, brings some.

    Raises ModelInvalid.
    """
    from mlx_sidecar.models.directory import read_json
    from mlx_sidecar.tasks import wording

    file = (path if path.is_dir() else path.parent) / wording.FILE
    return wording.checked(read_json(file), file) if file.exists() else None


def _location(request: LoadModel) -> Location:
    field, reference = next((name, value) for name in MODEL_FIELDS if (value := getattr(request, name)) is not None)
    return gguf_within(located(field, reference), request.gguf_file)


@answers(UnloadModel)
def unload_model(_: UnloadModel, __: RequestInfo, context: HandlerContext) -> ModelUnloaded:
    """Let the model go; with none loaded there is nothing to free, and that is a success too."""
    context.startup_failure = None
    return ModelUnloaded(success=True, freed_bytes=context.engine.unload())


@answers(ModelInfo)
def model_info(_: ModelInfo, __: RequestInfo, context: HandlerContext) -> ModelDescription:
    """What is loaded. Raises ModelNotLoaded."""
    loaded(context)
    facts = context.engine.facts
    if facts is None:
        raise ModelNotLoaded("no model is loaded; send load-model first")
    return _describe(facts)


def _describe(facts: ModelFacts) -> ModelDescription:
    return ModelDescription(
        model_name=facts.name,
        param_count=facts.param_count,
        model_type=facts.model_type,
        quantization=convert(facts.quantization, Quantization) if facts.quantization is not None else None,
        context_length=facts.context_length,
        memory_bytes=facts.memory_bytes,
        load_s=facts.load_s,
        path=facts.path,
        adapter_path=facts.adapter_path,
        chat_template=facts.chat_template,
        can_think=facts.can_think,
        description=facts.description if facts.description is not None else UNSET,
        calibration_path=facts.calibration_path if facts.calibration_path is not None else UNSET,
        tensor_types=convert(facts.tensor_types, list[TensorTypeHeld]) if facts.tensor_types is not None else UNSET,
    )


@handles(ListModels)
def list_models(request: ListModels, _: RequestInfo, __: HandlerContext) -> Task:
    """The models in the Hugging Face cache, or in a folder. Reading all their headers may take a while."""
    from mlx_sidecar.hub import cache

    found: list[ListedModel] = []
    began = time.monotonic()
    for some in cache.cached_models() if request.folder is None else cache.models_in(absolute(request.folder)):
        found += some
        if time.monotonic() - began > _LISTED_BETWEEN_PAUSES_S:
            yield Pause()
            began = time.monotonic()
    return ModelList(models=found)
