"""What is needed to get an answer again: the model's digests, what was asked, versions, device."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Generator
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from mlx_sidecar import __version__
from mlx_sidecar.engine import device
from mlx_sidecar.engine.digests import ModelDigests
from mlx_sidecar.engine.job import LanguageModel
from mlx_sidecar.errors import ModelInvalid
from mlx_sidecar.protocol.requests import ReceiptRequest, Request
from mlx_sidecar.protocol.responses import Receipt, Versions
from mlx_sidecar.tasks.task import Pause
from mlx_sidecar.tasks.wording import prompt_version

RequestT = TypeVar("RequestT", bound=ReceiptRequest)

_TEXTS = frozenset({"content", "prompt", "messages", "system", "examples", "receipt", "seed"})
"""Fields that aren't options: private text, of which the receipt has a digest only, and what it says by itself."""


def with_seed(request: RequestT) -> RequestT:
    """The request with a seed that the receipt can name, where it draws tokens and has none."""
    if request.receipt and getattr(request, "seed", 0) is None and getattr(request, "temperature", 0) > 0:
        return msgspec.structs.replace(request, seed=secrets.randbits(53))
    return request


def receipt_of(request: ReceiptRequest, model: LanguageModel) -> Generator[Pause, object, Receipt | UnsetType]:
    """The receipt, if it is wanted. The model's files are read once, in pieces."""
    if not request.receipt:
        return UNSET
    digests = yield from _digests(model)
    found = device.describe()
    return Receipt(
        model_digest=digests.model,
        adapter_digest=digests.adapter if digests.adapter is not None else UNSET,
        template_digest=digests.template,
        prompt_version=prompt_version(model.task_prompts),
        calibration_digest=model.calibration.digest if model.calibration is not None else UNSET,
        input_digest=hashlib.sha256(msgspec.json.encode(_some(request, _TEXTS - {"receipt", "seed"}))).hexdigest(),
        options={"command": str(request.__struct_config__.tag), **_options(request)},
        seed=getattr(request, "seed", None),
        context_length=model.context_length,
        versions=Versions(
            mlx_sidecar=__version__, mlx=found.mlx_version or "unknown", mlx_lm=found.mlx_lm_version or "unknown"
        ),
        device=found.name,
    )


def _digests(model: LanguageModel) -> Generator[Pause, object, ModelDigests]:
    pieces = model.digests()
    while True:
        try:
            next(pieces)
        except StopIteration as finished:
            found: ModelDigests = finished.value
            return found
        except OSError as problem:
            raise ModelInvalid(f"the model's files can't be read any more: {problem.strerror}") from None
        yield Pause()


def _options(request: Request) -> dict[str, Any]:
    own = [name for name in request.__struct_fields__ if name not in {"id", "timeout_s", "stream", *_TEXTS}]
    return _some(request, own)


def _some(request: Request, names: Any) -> dict[str, Any]:
    fields = {name: getattr(request, name, None) for name in sorted(names)}
    return {name: msgspec.to_builtins(value, str_keys=True) for name, value in fields.items() if value is not None}
