"""Loads a model piece by piece, so that progress is real and a cancel is obeyed between two pieces."""

from __future__ import annotations

import importlib
import importlib.util
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlx_sidecar.engine import folder as folders
from mlx_sidecar.engine import tokenizer
from mlx_sidecar.engine.folder import ModelFolder
from mlx_sidecar.engine.job import ModelFacts, Turn
from mlx_sidecar.engine.mlx_lm_import import import_mlx_lm
from mlx_sidecar.engine.panics import is_panic
from mlx_sidecar.engine.plan import LoadPlan, stated_context_length
from mlx_sidecar.errors import InvalidParams, ModelInvalid, ModelUnsupported, OutOfMemory, SidecarError

if TYPE_CHECKING:
    from mlx_sidecar.engine.memory import Budget, RowCost

PIECE_BYTES = 64 * 1024 * 1024
_UNKNOWN_CONTEXT_LENGTH = 32_768
_LEAST_CONTEXT_LENGTH = 1024
_KV_SHARE = 0.5
"""The part of the free memory that the context of one sequence may take."""


def steps(wanted: LoadPlan, budget: Budget, held_bytes: int) -> Generator[float, None, Any]:
    """Load; yields the part of the weights that is read, 0 to 1, and returns a LoadedModel.

    `held_bytes` is what the model takes that goes when this one is there.
    """
    started = time.monotonic()
    yield 0.0
    import_mlx_lm()
    yield 0.0
    with _reasons(wanted.folder):
        network, config = _build(wanted)
    yield from _read_weights(network)
    with _reasons(wanted.folder):
        if wanted.adapter_path is not None:
            network = _with_adapter(network, wanted.adapter_path)
        vocabulary_size, cost = _try_out(network)
        context_length = _context_length(wanted, cost, budget.room() + held_bytes)
    yield 1.0
    with _reasons(wanted.folder):
        return _finish(wanted, network, config, vocabulary_size, cost, context_length, started)


@contextmanager
def _reasons(folder: ModelFolder) -> Iterator[None]:
    """mlx_lm fails in many ways; all of them come down to the folder."""
    try:
        yield
    except (SidecarError, MemoryError):
        raise
    except BaseException as problem:  # Some of its models end the process where a library is missing.
        if not isinstance(problem, Exception | SystemExit) and not is_panic(problem):
            raise
        text = " ".join(str(problem).split())[:500] or type(problem).__name__
        blamed = _blamed(text, folder)
        reason = f"{folder.path / blamed} can't be used: {text} ({type(problem).__name__})"
        raise ModelInvalid(reason, {"file": blamed, "reason": text}) from problem


def _blamed(text: str, folder: ModelFolder) -> str:
    """The file that a message of mlx_lm is about: it speaks of parameters where the weights don't fit."""
    for file in folder.weight_files:
        if file.name in text or any(name in text for name in folders.tensor_names(file)):
            return file.name
    return folder.weight_files[0].name if "parameter" in text else "config.json"


def _build(wanted: LoadPlan) -> tuple[Any, dict[str, Any]]:
    """The network with its weights promised but not read yet."""
    from mlx_lm.utils import MODEL_REMAPPING, load_model

    model_type = wanted.folder.model_type
    module = MODEL_REMAPPING.get(model_type, model_type)
    if importlib.util.find_spec(f"mlx_lm.models.{module}") is None or not hasattr(
        importlib.import_module(f"mlx_lm.models.{module}"), "ModelArgs"
    ):
        file = wanted.folder.path / "config.json"
        raise ModelUnsupported(
            f"{file} asks for model_type '{model_type}', which this mlx-lm doesn't know; a newer one may",
            {"file": "config.json", "model_type": model_type},
        )
    network, config = load_model(wanted.folder.path, lazy=True)
    return network, config


def _read_weights(network: Any) -> Generator[float, None, None]:
    import mlx.core as mx
    from mlx.utils import tree_flatten

    weights = [weight for _, weight in tree_flatten(network.parameters())]
    total, read, piece, piece_bytes = sum(w.nbytes for w in weights), 0, [], 0
    for weight in weights:
        piece.append(weight)
        piece_bytes += weight.nbytes
        if piece_bytes >= PIECE_BYTES:
            mx.eval(piece)
            read, piece, piece_bytes = read + piece_bytes, [], 0
            yield read / total
    mx.eval(piece)


def _with_adapter(network: Any, path: Path) -> Any:
    from mlx_lm.utils import load_adapters

    network = load_adapters(network, str(path))
    network.eval()
    return network


def _try_out(network: Any) -> tuple[int, RowCost]:
    """Compute one token, which shows that the shapes fit; gives the vocabulary's size and what a sequence takes."""
    import mlx.core as mx
    from mlx_lm.models.cache import make_prompt_cache

    from mlx_sidecar.engine.memory import row_cost

    cache = make_prompt_cache(network)
    if not all(hasattr(layer, "merge") for layer in cache):
        raise ModelUnsupported("this kind of model can't be batched by mlx-lm yet, which the worker needs")
    logits = network(mx.array([[0]]), cache=cache)
    mx.eval(logits)
    return int(logits.shape[-1]), row_cost(cache)


def _finish(
    wanted: LoadPlan,
    network: Any,
    config: dict[str, Any],
    vocabulary_size: int,
    cost: RowCost,
    context_length: int,
    started: float,
) -> Any:
    import mlx.core as mx
    from mlx.utils import tree_flatten
    from mlx_lm.utils import get_total_parameters

    from mlx_sidecar.engine.loaded import LoadedModel

    eos = config.get("eos_token_id")
    eos_ids = frozenset(t for t in (eos if isinstance(eos, list) else [eos]) if isinstance(t, int))
    defaults = getattr(importlib.import_module(type(network).__module__), "TOKENIZER_DEFAULTS", None) or {}
    made = tokenizer.load(wanted.folder, eos_ids or _default_eos(defaults), defaults)
    memory_bytes = sum(weight.nbytes for _, weight in tree_flatten(network.parameters()))
    stated = config.get("description")
    facts = ModelFacts(
        name=wanted.name,
        path=str(wanted.folder.path),
        model_type=wanted.folder.model_type,
        param_count=int(get_total_parameters(network)),
        context_length=context_length,
        memory_bytes=memory_bytes,
        load_s=round(time.monotonic() - started, 4),
        quantization=folders.quantization_of(config),
        adapter_path=str(wanted.adapter_path) if wanted.adapter_path else None,
        description=stated if isinstance(stated, str) else None,
    )
    mx.clear_cache()
    loaded = LoadedModel(network, made, facts, vocabulary_size, cost)
    # A template or a tokenizer that is broken shows now, not with the first request.
    try:
        made.decode(loaded.render([Turn("user", "x")]).tokens)
    except (InvalidParams, ModelInvalid) as problem:
        data = problem.data or {"file": "chat_template"}
        raise ModelInvalid(f"{wanted.folder.path}: {problem.message}", data) from None
    return loaded


def _default_eos(defaults: dict[str, Any]) -> frozenset[int]:
    stated = defaults.get("eos_token_ids")
    return frozenset([stated] if isinstance(stated, int) else stated or ())


def _context_length(wanted: LoadPlan, cost: RowCost, room_bytes: int) -> int:
    """The model's own, as far as memory holds it, or what was asked for. Raises OutOfMemory."""
    most = cost.most_tokens(room_bytes)
    _check_room(cost.bytes(1), room_bytes, "the shortest request", "close other programs or choose a smaller model", {})
    if wanted.context_length is not None:
        needed, what = cost.bytes(wanted.context_length), f"a context of {wanted.context_length} tokens"
        _check_room(needed, room_bytes, what, "load it with a smaller context_length", {"most_tokens": most})
        return wanted.context_length
    own = stated_context_length(wanted.folder.config) or _UNKNOWN_CONTEXT_LENGTH
    share = cost.most_tokens(int(room_bytes * _KV_SHARE))
    return own if most is None or share is None else min(own, max(share, min(most, _LEAST_CONTEXT_LENGTH)))


def _check_room(needed_bytes: int, room_bytes: int, what: str, advice: str, more: dict[str, Any]) -> None:
    from mlx_sidecar.engine.memory import needed_and_available

    if needed_bytes > room_bytes:
        takes, there_is = needed_and_available(needed_bytes, room_bytes)
        raise OutOfMemory(
            f"{what} takes {takes} beside the model, and {there_is} can be had; {advice}",
            {"needed_bytes": needed_bytes, "available_bytes": room_bytes, **more},
        )
