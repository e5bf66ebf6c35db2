"""Loads a model in two parts: everything but its weights, which shows what is wrong with it, then the weights.

The weights are read piece by piece, so that progress is real and a cancel is obeyed between two pieces.

What the weights take is counted from the network, since mlx_lm leaves out what it doesn't need and unpacks what it
can't use; that needs headers that can be believed (`models/safetensors.py`) and a network that can be built at all
(`models/counts.py`).
"""

from __future__ import annotations

import importlib
import importlib.util
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlx_sidecar.engine import adapter, tokenizer
from mlx_sidecar.engine.digests import DigestReading
from mlx_sidecar.engine.job import ModelFacts, Turn
from mlx_sidecar.engine.memory import is_out_of_memory
from mlx_sidecar.engine.mlx_lm_import import import_mlx_lm
from mlx_sidecar.engine.panics import is_panic
from mlx_sidecar.engine.plan import LoadPlan, stated_context_length
from mlx_sidecar.errors import InvalidParams, ModelInvalid, ModelUnsupported, OutOfMemory, SidecarError
from mlx_sidecar.models import directory
from mlx_sidecar.models.directory import ModelDirectory
from mlx_sidecar.models.files import check_values
from mlx_sidecar.models.gguf.model_file import ModelFile

if TYPE_CHECKING:
    from mlx_sidecar.engine.gguf_network import GGUFWeights
    from mlx_sidecar.engine.loaded import LoadedModel
    from mlx_sidecar.engine.memory import Budget, RowCost
    from mlx_sidecar.engine.prompt import PromptBuilder
    from mlx_sidecar.engine.tokenizer import Tokenizer

PIECE_BYTES = 64 * 1024 * 1024
_UNKNOWN_CONTEXT_LENGTH = 32_768
_LEAST_CONTEXT_LENGTH = 1024
_KV_SHARE = 0.5
"""The part of the free memory that the context of one sequence may take."""


@dataclass(eq=False)
class Prepared:
    """A model of which nothing is left to do but read its weights: all that is wrong with its files was found."""

    wanted: LoadPlan
    started: float
    network: Any
    config: dict[str, Any]
    tokenizer: Tokenizer
    prompts: PromptBuilder
    logits: Any
    """What the network makes of one token, promised: computed, and let go, when the weights are there."""
    vocabulary_size: int
    weight_bytes: int
    cost: RowCost
    gguf: GGUFWeights | None = None
    """What reads the weights, where they lie in a GGUF file."""
    reading: DigestReading | None = None
    """Of the files' digests, where they had to be known."""


def prepare(wanted: LoadPlan, budget: Budget, held_bytes: int) -> Generator[float, None, Prepared]:
    """Make everything but the weights, which MLX only promises until somebody asks for them; yields 0, to pause.

    `held_bytes` is what the model takes that goes when this one is there.
    """
    started = time.monotonic()
    yield 0.0
    reading = yield from _check_digests(wanted)
    import_mlx_lm()
    _forget_draws()
    yield 0.0
    with _reasons(wanted.folder):
        network, config, gguf = _build(wanted)
        if wanted.adapter_path is not None:
            network = adapter.put_on(network, wanted.adapter_path)
    weight_bytes = sum(weight.nbytes for weight in _weights(network))
    budget.check(weight_bytes, "the model needs {}", held_bytes)
    yield 0.0
    with _reasons(wanted.folder):
        logits, cost = _promise(network)
        _context_length(wanted, cost, budget, held_bytes - weight_bytes)
        made = _tokenizer(wanted.folder, network, config)
    yield 0.0
    with _reasons(wanted.folder):
        prompts = _prompts(wanted.folder, made)
        vocabulary_size = int(logits.shape[-1])
    return Prepared(
        wanted, started, network, config, made, prompts, logits, vocabulary_size, weight_bytes, cost, gguf, reading
    )


def _check_digests(wanted: LoadPlan) -> Generator[float, None, DigestReading | None]:
    """Read the files through where something that came with the model depends on what they hold."""
    if wanted.check_digests is None:
        return None
    reading = DigestReading(wanted.folder.path, wanted.adapter_path)
    pieces = reading.digests()
    while True:
        try:
            next(pieces)
        except StopIteration as finished:
            wanted.check_digests(finished.value)
            return reading
        except OSError as problem:
            raise ModelInvalid(f"{wanted.folder.path} can't be read: {problem}") from None
        yield 0.0


def _forget_draws() -> None:
    """A network is made with random weights that nobody asks for, and MLX keeps how they would be drawn."""
    import mlx.core as mx

    mx.random.seed(0)


def read(prepared: Prepared, budget: Budget, held_bytes: int) -> Generator[float, None, LoadedModel]:
    """Read the weights piece by piece; yields the part that is read, 0 to 1."""
    import mlx.core as mx

    yield 0.0
    with _reasons(prepared.wanted.folder):
        yield from _read_weights(prepared.network) if prepared.gguf is None else prepared.gguf.read(prepared.network)
    with _reasons(prepared.wanted.folder):
        mx.eval(prepared.logits)
        # They take memory that requests may have.
        del prepared.logits
        context_length = _context_length(prepared.wanted, prepared.cost, budget, held_bytes)
    yield 1.0
    with _reasons(prepared.wanted.folder):
        return _finish(prepared, context_length)


@contextmanager
def _reasons(folder: ModelDirectory | ModelFile) -> Iterator[None]:
    """mlx_lm fails in many ways; all but missing memory come down to the folder."""
    try:
        yield
    except SidecarError:
        raise
    except BaseException as problem:  # Some of its models end the process where a library is missing.
        if not isinstance(problem, Exception | SystemExit) and not is_panic(problem):
            raise
        if is_out_of_memory(problem):
            message = f"memory ran out while {folder.path} was loaded; close other programs or choose a smaller model"
            raise OutOfMemory(message) from problem
        text = " ".join(str(problem).split())[:500] or type(problem).__name__
        blamed = _blamed(text, folder)
        reason = f"{blamed} can't be used: {text} ({type(problem).__name__})"
        raise ModelInvalid(reason, {"file": blamed.name, "reason": text}) from problem


def _blamed(text: str, folder: ModelDirectory | ModelFile) -> Path:
    """The file that a message of mlx_lm is about: it speaks of parameters where the weights don't fit."""
    if isinstance(folder, ModelFile):
        return folder.path
    for file in folder.weight_files:
        if file.path.name in text or any(name in text for name in file.names):
            return file.path
    return folder.weight_files[0].path if "parameter" in text else folder.path / "config.json"


def _build(wanted: LoadPlan) -> tuple[Any, dict[str, Any], GGUFWeights | None]:
    """The network with its weights promised but not read yet."""
    if isinstance(wanted.folder, ModelFile):
        from mlx_sidecar.engine import gguf_network

        network, weights = gguf_network.build(wanted.folder)
        return network, wanted.folder.config, weights
    return *_build_from_folder(wanted.folder), None


def _build_from_folder(folder: ModelDirectory) -> tuple[Any, dict[str, Any]]:
    from mlx_lm.utils import MODEL_REMAPPING, load_model

    model_type = folder.model_type
    module = MODEL_REMAPPING.get(model_type, model_type)
    if importlib.util.find_spec(f"mlx_lm.models.{module}") is None or not hasattr(
        importlib.import_module(f"mlx_lm.models.{module}"), "ModelArgs"
    ):
        file = folder.path / "config.json"
        raise ModelUnsupported(
            f"{file} asks for model_type '{model_type}', which this mlx-lm doesn't know; a newer one may",
            {"file": "config.json", "model_type": model_type},
        )
    network, config = load_model(folder.path, lazy=True)
    return network, config


def _weights(network: Any) -> list[Any]:
    from mlx.utils import tree_flatten

    return [weight for _, weight in tree_flatten(network.parameters())]


def _read_weights(network: Any) -> Generator[float, None, None]:
    import mlx.core as mx

    weights = _weights(network)
    total, read, piece, piece_bytes = sum(w.nbytes for w in weights), 0, [], 0
    for weight in weights:
        piece.append(weight)
        piece_bytes += weight.nbytes
        if piece_bytes >= PIECE_BYTES:
            mx.eval(piece)
            read, piece, piece_bytes = read + piece_bytes, [], 0
            yield read / total
    mx.eval(piece)


def _promise(network: Any) -> tuple[Any, RowCost]:
    """Ask for one token without computing it, which shows that the shapes fit, and what a sequence takes."""
    import mlx.core as mx
    from mlx_lm.models.cache import make_prompt_cache

    from mlx_sidecar.engine.memory import row_cost

    cache = make_prompt_cache(network)
    if not all(hasattr(layer, "merge") for layer in cache):
        raise ModelUnsupported("this kind of model can't be batched by mlx-lm yet, which the worker needs")
    return network(mx.array([[0]]), cache=cache), row_cost(cache)


def _tokenizer(folder: ModelDirectory | ModelFile, network: Any, config: dict[str, Any]) -> Tokenizer:
    if isinstance(folder, ModelFile):
        from mlx_sidecar.engine import gguf_tokenizer

        return gguf_tokenizer.load(folder.files.header)
    eos = config.get("eos_token_id")
    eos_ids = frozenset(t for t in (eos if isinstance(eos, list) else [eos]) if isinstance(t, int))
    defaults = getattr(importlib.import_module(type(network).__module__), "TOKENIZER_DEFAULTS", None) or {}
    # Those that weren't parsed yet are parsed by others.
    for file in sorted(folder.path.glob("*.json")):
        check_values(file)
    return tokenizer.load(folder, eos_ids or _default_eos(defaults), defaults)


def _prompts(folder: ModelDirectory | ModelFile, made: Tokenizer) -> PromptBuilder:
    """A template or a tokenizer that is broken shows now, not with the first request."""
    from mlx_sidecar.engine.prompt import PromptBuilder

    prompts = PromptBuilder(made)
    try:
        made.decode(prompts.build([Turn("user", "x")], thinking=False, raw=False).tokens)
    except (InvalidParams, ModelInvalid) as problem:
        data = problem.data or {"file": "chat_template"}
        raise ModelInvalid(f"{folder.path}: {problem.message}", data) from None
    return prompts


def _finish(prepared: Prepared, context_length: int) -> LoadedModel:
    import mlx.core as mx
    from mlx_lm.utils import get_total_parameters

    from mlx_sidecar.engine.loaded import LoadedModel

    wanted, config = prepared.wanted, prepared.config
    stated = config.get("description")
    facts = ModelFacts(
        name=wanted.name,
        path=str(wanted.folder.path),
        model_type=wanted.folder.model_type,
        param_count=int(get_total_parameters(prepared.network)),
        context_length=context_length,
        memory_bytes=prepared.weight_bytes,
        load_s=round(time.monotonic() - prepared.started, 4),
        quantization=_quantization(wanted.folder),
        tensor_types=prepared.gguf.tensor_types if prepared.gguf is not None else None,
        adapter_path=str(wanted.adapter_path) if wanted.adapter_path else None,
        chat_template=prepared.prompts.template_source,
        can_think=prepared.prompts.can_think,
        description=stated if isinstance(stated, str) else None,
        calibration_path=wanted.calibration.path if wanted.calibration else None,
    )
    mx.clear_cache()
    size, cost = prepared.vocabulary_size, prepared.cost
    return LoadedModel(
        prepared.network,
        prepared.tokenizer,
        prepared.prompts,
        facts,
        size,
        cost,
        task_prompts=wanted.task_prompts,
        calibration=wanted.calibration,
        reading=prepared.reading,
    )


def _quantization(folder: ModelDirectory | ModelFile) -> dict[str, Any] | None:
    if isinstance(folder, ModelFile):
        return {"mode": folder.files.quantization} if folder.files.quantization else None
    return directory.quantization_of(folder.config)


def _default_eos(defaults: dict[str, Any]) -> frozenset[int]:
    stated = defaults.get("eos_token_ids")
    return frozenset([stated] if isinstance(stated, int) else stated or ())


def _context_length(wanted: LoadPlan, cost: RowCost, budget: Budget, change_bytes: int) -> int:
    """The model's own, as far as memory holds it, or what was asked for. Raises OutOfMemory."""
    room_bytes = budget.room(change_bytes)
    most = cost.most_tokens(room_bytes)
    budget.check(cost.bytes(1), "the shortest request takes {} beside the model", change_bytes)
    if wanted.context_length is not None:
        sentence = f"a context of {wanted.context_length} tokens takes {{}} beside the model"
        advice = "load it with a smaller context_length"
        budget.check(cost.bytes(wanted.context_length), sentence, change_bytes, advice=advice, most_tokens=most)
        return wanted.context_length
    own = stated_context_length(wanted.folder.config) or _UNKNOWN_CONTEXT_LENGTH
    share = cost.most_tokens(int(room_bytes * _KV_SHARE))
    return own if most is None or share is None else min(own, max(share, min(most, _LEAST_CONTEXT_LENGTH)))
