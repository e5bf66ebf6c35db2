"""Does a model fit? From its headers, on this machine or on the hub."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import convert

from mlx_sidecar.commands.context import HandlerContext, RequestInfo
from mlx_sidecar.commands.handlers import handles
from mlx_sidecar.engine import device
from mlx_sidecar.errors import ModelNotFound, NotAvailable
from mlx_sidecar.hub.downloads import error_of
from mlx_sidecar.hub.messages import Failed, SizesRead, SizesRequest
from mlx_sidecar.models.gguf.choice import gguf_within
from mlx_sidecar.models.resolve import Location
from mlx_sidecar.models.sources import located
from mlx_sidecar.protocol.requests import Estimate
from mlx_sidecar.protocol.responses import Estimated, Quantization
from mlx_sidecar.tasks.task import AwaitDownload, Pause, Task, TaskYield

if TYPE_CHECKING:
    from mlx_sidecar.engine.estimate import ModelSizes


@handles(Estimate)
def estimate(request: Estimate, _: RequestInfo, context: HandlerContext) -> Task:
    """Read the headers; of a repository that isn't in the cache by a child process, which may wait for the hub."""
    from mlx_sidecar.engine.estimate import fit, of_path

    if not device.is_installed():
        raise NotAvailable("MLX isn't installed here, so no model fits; see check-availability")
    found = _location(request)
    yield Pause()
    if found is not None:
        name, sizes = found.name, of_path(found.path, device.float_bytes())
    else:
        assert request.repo_id is not None
        name = request.repo_id if request.gguf_file is None else f"{request.repo_id}/{request.gguf_file}"
        sizes = yield from _asked(request, context)
    room_bytes = context.engine.room_bytes()
    fitting = fit(sizes, room_bytes, request.context_length)
    return Estimated(
        model_name=name,
        model_type=sizes.model_type,
        quantization=convert(sizes.quantization, Quantization) if sizes.quantization is not None else None,
        weight_bytes=sizes.weight_bytes,
        cache_bytes_per_token=sum(sizes.cost.per_token.values()),
        context_length=sizes.context_length,
        fits=fitting.fits,
        largest_context=fitting.largest_context,
        available_bytes=room_bytes,
        is_local=found is not None,
    )


def _location(request: Estimate) -> Location | None:
    """Where the model lies; None where only the hub may have it. Raises ModelNotFound or InvalidParams."""
    if request.repo_id is None:
        if request.model_path is None:
            assert request.gguf_file is not None
            return located("model_path", request.gguf_file)
        return gguf_within(located("model_path", request.model_path), request.gguf_file)
    if request.revision is not None:
        return None
    try:
        found = gguf_within(located("repo_id", request.repo_id), request.gguf_file)
    except ModelNotFound:
        return None
    return found if _is_there(found.path) else None


def _is_there(path: Path) -> bool:
    """Whether the cache has it: of a repository it may have some files only."""
    return path.is_file() or any(path.glob("model*.safetensors"))


def _asked(request: Estimate, context: HandlerContext) -> Generator[TaskYield, Any, ModelSizes]:
    """By a child process, which alone opens sockets. Raises SidecarError."""
    from mlx_sidecar.engine.estimate import ModelSizes
    from mlx_sidecar.engine.memory import RowCost

    assert request.repo_id is not None
    asked = SizesRequest(
        repo_id=request.repo_id,
        revision=request.revision,
        gguf_file=request.gguf_file,
        float_bytes=device.float_bytes(),
    )
    reading = context.downloads.start(asked)
    try:
        while True:
            match (yield AwaitDownload(reading.number)):
                case SizesRead() as told:
                    return ModelSizes(
                        model_type=told.model_type,
                        quantization=told.quantization,
                        weight_bytes=told.weight_bytes,
                        cost=RowCost(told.per_token, 0),
                        context_length=told.context_length,
                    )
                case Failed() as failed:
                    raise error_of(failed)
    finally:
        context.downloads.stop(reading)
