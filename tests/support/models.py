"""Small models built on demand: eight families with random weights, and models that recite a script.

Everything is written in mlx-lm's own format, so that `mlx_lm.load` and the worker read the same folder. A model takes
well under a second to build and has some 100,000 weights; nothing is downloaded.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import pickle
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_map_with_path

from tests.support.tokenizers import TOKENIZERS, write_tokenizer

FAMILIES = ("llama", "qwen2", "qwen3", "gemma3_text", "phi3", "mamba", "qwen3_moe", "lfm2")
PRECISIONS = ("float32", "4bit")

_TOKENIZER_OF = {
    "llama": "llama3",
    "qwen2": "chatml",
    "qwen3": "thinking",
    "gemma3_text": "gemma",
    "phi3": "phi3",
    "mamba": "plain",
    "qwen3_moe": "thinking",
    "lfm2": "chatml",
}
_ATTENTION = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
}
_ARCHITECTURE: dict[str, dict[str, Any]] = {
    "llama": {**_ATTENTION, "head_dim": 16, "tie_word_embeddings": False},
    "qwen2": {**_ATTENTION, "tie_word_embeddings": True},
    "qwen3": {**_ATTENTION, "head_dim": 16, "tie_word_embeddings": False},
    # Five layers of eight remember 24 tokens only; every prompt of the tests is longer.
    "gemma3_text": {
        **_ATTENTION,
        "num_hidden_layers": 4,
        "head_dim": 16,
        "sliding_window": 24,
        "sliding_window_pattern": 2,
        "query_pre_attn_scalar": 16,
    },
    "phi3": {**_ATTENTION, "tie_word_embeddings": False},
    "mamba": {
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "intermediate_size": 128,
        "state_size": 8,
        "conv_kernel": 4,
        "use_bias": False,
        "use_conv_bias": True,
        "time_step_rank": 4,
        "tie_word_embeddings": False,
    },
    # Every other layer is a short convolution with a state: a hybrid.
    "lfm2": {
        "hidden_size": 64,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "norm_eps": 1e-6,
        "conv_bias": False,
        "conv_L_cache": 3,
        "block_dim": 64,
        "block_ff_dim": 128,
        "block_multiple_of": 32,
        "block_ffn_dim_multiplier": 1.0,
        "block_auto_adjust_ff_dim": False,
        "full_attn_idxs": [1, 3],
    },
    "qwen3_moe": {
        **_ATTENTION,
        "head_dim": 16,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
        "moe_intermediate_size": 64,
        "norm_topk_prob": True,
        "tie_word_embeddings": False,
    },
}


def build_model(
    folder: Path,
    family: str,
    precision: str = "float32",
    *,
    tokenizer: str | None = None,
    max_position_embeddings: int = 2048,
    seed: int = 1,
    **changes: Any,
) -> Path:
    """Write a model of that family with random weights; the same arguments give the same bytes.

    `changes` are made to its config.json.
    """
    name = tokenizer or _TOKENIZER_OF[family]
    folder.mkdir(parents=True)
    config = _config(folder, name, family, max_position_embeddings) | _ARCHITECTURE[family] | changes
    if family == "qwen2":
        config["vocab_size"] += 64  # As the real ones: the output matrix has rows that no token belongs to.
    model = _model(config)
    _randomise(model, seed)
    if precision == "half 4bit":
        model.set_dtype(mx.float16)
    if precision.endswith("4bit"):
        config["quantization"] = config["quantization_config"] = _quantize(model)
    _save(folder, model, config)
    # As a large model's: tags and summary of a document share what comes before the last instruction.
    (folder / "task_prompts.json").write_text('{"every_task": true, "rank": false}', encoding="utf-8")
    return folder


def _config(folder: Path, tokenizer: str, family: str, max_position_embeddings: int) -> dict[str, Any]:
    trained = write_tokenizer(tokenizer, folder)
    kind = TOKENIZERS[tokenizer]
    config = {
        "model_type": family,
        "vocab_size": trained.get_vocab_size(),
        "pad_token_id": trained.token_to_id(kind.eos),
        "eos_token_id": trained.token_to_id(kind.eos),
        "max_position_embeddings": max_position_embeddings,
    }
    if tokenizer == "llama3":
        # Llama 3 names its end tokens a second time, as a list, in a file of its own.
        ends = [trained.token_to_id(t) for t in ("<|end_of_text|>", "<|eot_id|>")]
        (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": ends}), encoding="utf-8")
    return config


def _model(config: dict[str, Any]) -> Any:
    module = importlib.import_module(f"mlx_lm.models.{config['model_type']}")
    return module.Model(module.ModelArgs.from_dict(config))


def _randomise(model: Any, seed: int) -> None:
    """Weights wide enough that greedy text wanders instead of repeating one token."""
    mx.random.seed(seed)

    def draw(path: str, old: mx.array) -> mx.array:
        if path.endswith(("A_log", ".D")):
            return old
        noise = mx.random.normal(old.shape)
        if old.ndim == 1:
            return old + 0.1 * noise
        if "embed" in path:
            return noise
        return noise * (2.0 / math.sqrt(old.shape[-1]))

    model.update(tree_map_with_path(draw, model.parameters()))
    mx.eval(model.parameters())


def _quantize(model: Any) -> dict[str, Any]:
    group_size, bits = 32, 4

    def fits(_path: str, module: Any) -> bool:
        return hasattr(module, "to_quantized") and module.weight.shape[-1] % group_size == 0

    nn.quantize(model, group_size, bits, class_predicate=fits)
    return {"group_size": group_size, "bits": bits, "mode": "affine"}


def _save(folder: Path, model: Any, config: dict[str, Any]) -> None:
    weights = dict(tree_flatten(model.parameters()))
    mx.save_safetensors(str(folder / "model.safetensors"), weights, metadata={"format": "mlx"})
    (folder / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")


# Models that recite


@dataclass(frozen=True)
class Script:
    """What a reciting model says: `text`, token by token, then its end (or again from the start)."""

    text: str
    tokenizer: str = "chatml"
    endless: bool = False
    max_position_embeddings: int = 8192


def build_reciter(folder: Path, script: Script) -> Path:
    """Write a model that says `script.text` after any prompt, whatever its temperature.

    A llama whose one layer adds nothing: embeddings are one-hot and the output matrix is the table of next tokens. A
    token of the script is followed by the next one, the last by the end token, and every other token by the first. No
    token may come twice in a script, nor be the last of the prompt's template.
    """
    folder.mkdir(parents=True)
    # Its prompts are the document and the instruction, and it is taken at its word.
    (folder / "task_prompts.json").write_text('{"examples": [], "rank": false}', encoding="utf-8")
    config = _config(folder, script.tokenizer, "llama", script.max_position_embeddings)
    size = int(config["vocab_size"])
    config |= {
        "hidden_size": size,
        "num_hidden_layers": 1,
        "intermediate_size": 32,
        "num_attention_heads": 1,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
    }
    model = _model(config)
    tokens = script_tokens(folder, script.text)
    successors = _successors(tokens, int(config["eos_token_id"]), size, endless=script.endless)
    mute = mx.zeros
    layer = model.model.layers[0]
    layer.self_attn.o_proj.weight = mute(layer.self_attn.o_proj.weight.shape)
    layer.mlp.down_proj.weight = mute(layer.mlp.down_proj.weight.shape)
    model.model.embed_tokens.weight = mx.eye(size)
    table = (mx.array(successors)[None, :] == mx.arange(size)[:, None]).astype(mx.float32)
    model.lm_head.weight = table * (40.0 / math.sqrt(size))
    _save(folder, model, config)
    return folder


def script_tokens(folder: Path, text: str) -> list[int]:
    """The tokens of a script; raises ValueError if one comes twice, since the model could not go on from it."""
    from tokenizers import Tokenizer

    tokens: list[int] = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text, add_special_tokens=False).ids
    if len(set(tokens)) != len(tokens):
        raise ValueError(f"a token comes twice in {text!r}: {tokens}")
    return tokens


def _successors(tokens: Sequence[int], eos: int, size: int, *, endless: bool) -> list[int]:
    successors = [tokens[0]] * size
    for token, following in zip(tokens, [*tokens[1:], tokens[0] if endless else eos], strict=True):
        successors[token] = following
    return successors


def build_adapter(folder: Path, model_folder: Path) -> Path:
    """Write a LoRA adapter for every linear layer of that model's attention, with random weights."""
    from mlx_lm.tuner.utils import linear_to_lora_layers

    config = json.loads((model_folder / "config.json").read_text(encoding="utf-8"))
    model = _model(config)
    parameters = {"rank": 4, "scale": 20.0, "dropout": 0.0}
    model.freeze()
    linear_to_lora_layers(model, config["num_hidden_layers"], parameters)
    mx.random.seed(5)
    weights = {name: mx.random.normal(w.shape) * 0.3 for name, w in tree_flatten(model.trainable_parameters())}
    folder.mkdir(parents=True)
    mx.save_safetensors(str(folder / "adapters.safetensors"), weights)
    settings = {
        "fine_tune_type": "lora",
        "num_layers": config["num_hidden_layers"],
        "lora_parameters": parameters,
    }
    (folder / "adapter_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder


# Broken folders


def _load(path: Path) -> dict[str, mx.array]:
    weights = mx.load(str(path))
    assert isinstance(weights, dict)
    mx.eval(weights)
    return weights


def _edit_json(path: Path, **changes: Any) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(content | changes), encoding="utf-8")


def _missing_shard(folder: Path) -> None:
    weights = _load(folder / "model.safetensors")
    names = sorted(weights)
    half = len(names) // 2
    shards = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    weight_map = {name: shards[n >= half] for n, name in enumerate(names)}
    mx.save_safetensors(str(folder / shards[0]), {name: weights[name] for name in names[:half]})
    (folder / "model.safetensors").unlink()
    index = {"metadata": {"total_size": sum(w.nbytes for w in weights.values())}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


def _shard_outside(folder: Path) -> None:
    _missing_shard(folder)
    path = folder / "model.safetensors.index.json"
    text = path.read_text(encoding="utf-8").replace("model-00002-of-00002", "../model-00002-of-00002")
    path.write_text(text, encoding="utf-8")


def _truncated(folder: Path) -> None:
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])


def _empty_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"")


def _absurd_header(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes((1 << 60).to_bytes(8, "little") + path.read_bytes()[8:])


def _garbage_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(b"<!DOCTYPE html><html>404 Not Found</html>" * 100)


def _edit_header(folder: Path, edit: Callable[[dict[str, Any]], None], *, keeps_size: bool = True) -> None:
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    start = 8 + int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8:start])
    edit(header)
    written = json.dumps(header).encode()
    path.write_bytes(len(written).to_bytes(8, "little") + written + (whole[start:] if keeps_size else b""))


_TENSOR = "model.layers.0.mlp.up_proj.weight"


def _overlapping_tensors(folder: Path) -> None:
    """All in the same place: each has its bytes, and together they take far more than the file."""

    def overlap(header: dict[str, Any]) -> None:
        header.pop("__metadata__", None)
        for tensor in header.values():
            begin, end = tensor["data_offsets"]
            tensor["data_offsets"] = [0, end - begin]

    _edit_header(folder, overlap, keeps_size=False)
    with (folder / "model.safetensors").open("ab") as file:
        file.truncate(file.tell() + 1024 * 64 * 4)


def _gap_between_tensors(folder: Path) -> None:
    _edit_header(folder, lambda header: header.pop(_TENSOR))


def _too_few_bytes(folder: Path) -> None:
    _edit_header(folder, lambda header: header[_TENSOR].update(shape=[256, 64]))


def _negative_shape(folder: Path) -> None:
    _edit_header(folder, lambda header: header[_TENSOR].update(shape=[-128, -64]))


def _unknown_dtype(folder: Path) -> None:
    _edit_header(folder, lambda header: header[_TENSOR].update(dtype="F7"))


def _no_tensors(folder: Path) -> None:
    _edit_header(folder, dict.clear, keeps_size=False)


def _header_bomb(folder: Path) -> None:
    bomb = b'{"__metadata__":{"x":[' + b"[]," * 3_000_000 + b"[]]}}"
    (folder / "model.safetensors").write_bytes(len(bomb).to_bytes(8, "little") + bomb)


def _json_bomb(name: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        (folder / name).write_bytes(b'{"x":[' + b"[]," * 6_000_000 + b"[]]}")

    return spoil


def _long_name_in_index(folder: Path) -> None:
    index = {"weight_map": {_TENSOR: "x" * 5000 + ".safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


def _with_number(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: _edit_json(folder / "config.json", **changes)


def _broken_template(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{% if %}", encoding="utf-8")


def _wrong_shapes(folder: Path) -> None:
    _edit_json(folder / "config.json", intermediate_size=96)


def _missing_tensor(folder: Path) -> None:
    path = folder / "model.safetensors"
    weights = _load(path)
    del weights["model.norm.weight"]
    path.unlink()
    mx.save_safetensors(str(path), weights)


def _no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def _config_bad_json(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "llama", ', encoding="utf-8")


def _config_not_object(folder: Path) -> None:
    (folder / "config.json").write_text("[]", encoding="utf-8")


def _config_missing(folder: Path) -> None:
    (folder / "config.json").unlink()


def _config_not_utf8(folder: Path) -> None:
    (folder / "config.json").write_bytes(b'{"model_type": "\xff\xfe"}')


def _config_wrong_type(folder: Path) -> None:
    _edit_json(folder / "config.json", hidden_size="sixty-four")


def _config_without_key(folder: Path) -> None:
    path = folder / "config.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    del content["num_attention_heads"]
    path.write_text(json.dumps(content), encoding="utf-8")


def _no_model_type(folder: Path) -> None:
    path = folder / "config.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    del content["model_type"]
    path.write_text(json.dumps(content), encoding="utf-8")


def _unknown_model_type(folder: Path) -> None:
    _edit_json(folder / "config.json", model_type="quux9000")


def _exiting_model_type(folder: Path) -> None:
    _edit_json(folder / "config.json", model_type="olmo")


def _escaping_model_type(folder: Path) -> None:
    _edit_json(folder / "config.json", model_type="..utils")


def _helper_model_type(folder: Path) -> None:
    _edit_json(folder / "config.json", model_type="cache")


def _model_file(folder: Path) -> None:
    _edit_json(folder / "config.json", model_file="custom.py")
    (folder / "custom.py").write_text(_trap(folder), encoding="utf-8")


def _auto_map(folder: Path) -> None:
    auto_map = {"AutoTokenizer": ["custom.Custom", "custom.Custom"]}
    _edit_json(folder / "tokenizer_config.json", auto_map=auto_map, tokenizer_class="Custom")
    (folder / "custom.py").write_text(_trap(folder), encoding="utf-8")


def _trap(folder: Path) -> str:
    return f"from pathlib import Path\nPath({str(folder / RAN)!r}).touch()\n"


def _no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def _tokenizer_bad_json(folder: Path) -> None:
    (folder / "tokenizer.json").write_text('{"version": "1.0", ', encoding="utf-8")


def _tokenizer_wrong_content(folder: Path) -> None:
    (folder / "tokenizer.json").write_text('{"version": "1.0", "model": {"type": "Abacus"}}', encoding="utf-8")


def _pickle_only(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with (folder / "pytorch_model.bin").open("wb") as file:
        pickle.dump(_Trap(folder / RAN), file)


class _Trap:
    """A pickle that creates a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Path]]:
        return Path.touch, (self.path,)


OPENED = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "model.safetensors",
    "model.safetensors.index.json",
)
"""What is opened in a model's folder where it is there, by the worker or by mlx-lm and transformers."""


def _in_place_of(name: str, put: Callable[[Path], None]) -> Breakage:
    """Something else than a file of a sound size has that name."""

    def spoil(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        put(folder / name)

    return Breakage(spoil, _INVALID, (f"/{name} can't be read",))


def _endless_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _huge_hole(path: Path) -> None:
    """Takes nothing on the disk."""
    with path.open("wb") as file:
        file.truncate(2**40)


RAN = "custom-code-ran"
"""The file that the custom code of a broken folder would create beside itself."""


@dataclass(frozen=True)
class Breakage:
    """One way to spoil a model's folder, and what the worker must say of it."""

    spoil: Callable[[Path], None]
    codes: frozenset[str]
    names: tuple[str, ...]
    """The error's sentence holds at least one of these."""


_INVALID = frozenset({"model_invalid"})
_UNSUPPORTED = frozenset({"model_unsupported"})
_EITHER = _INVALID | _UNSUPPORTED
_WEIGHTS = ("model.safetensors",)
_SECOND_SHARD = ("model-00002-of-00002.safetensors",)


def _with_normalizer(normalizer: dict[str, str]) -> Breakage:
    """The tokenizers library panics on it, which is no Exception in Python."""

    def spoil(folder: Path) -> None:
        described = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        described["normalizer"] = normalizer
        (folder / "tokenizer.json").write_text(json.dumps(described), encoding="utf-8")

    return Breakage(spoil, _INVALID, ("tokenizer.json",))


BREAKAGES: dict[str, Breakage] = {
    "missing_shard": Breakage(_missing_shard, _INVALID, _SECOND_SHARD),
    "shard_outside": Breakage(_shard_outside, _INVALID, _SECOND_SHARD),
    "truncated": Breakage(_truncated, _INVALID, _WEIGHTS),
    "empty_weights": Breakage(_empty_weights, _INVALID, _WEIGHTS),
    "absurd_header": Breakage(_absurd_header, _INVALID, _WEIGHTS),
    "garbage_weights": Breakage(_garbage_weights, _INVALID, _WEIGHTS),
    "overlapping_tensors": Breakage(_overlapping_tensors, _INVALID, _WEIGHTS),
    "gap_between_tensors": Breakage(_gap_between_tensors, _INVALID, _WEIGHTS),
    "too_few_bytes": Breakage(_too_few_bytes, _INVALID, (_TENSOR,)),
    "negative_shape": Breakage(_negative_shape, _INVALID, _WEIGHTS),
    "unknown_dtype": Breakage(_unknown_dtype, _INVALID, ("'F7'",)),
    "no_tensors": Breakage(_no_tensors, _INVALID, _WEIGHTS),
    "header_bomb": Breakage(_header_bomb, _INVALID, _WEIGHTS),
    **{
        f"bomb {name}": Breakage(_json_bomb(name), _INVALID, (f"/{name} can't be read: it has",))
        for name in ("config.json", "tokenizer.json", "vocab.json", "model.safetensors.index.json")
    },
    "long_name_in_index": Breakage(_long_name_in_index, _INVALID, ("index.json names it",)),
    **{
        f"{name} {number}": Breakage(_with_number(**{name: number}), _INVALID, (f"{name} is {number}",))
        for name in ("num_hidden_layers", "num_attention_heads", "num_experts", "n_routed_experts")
        for number in (10**9, 2**63)
    },
    "layers inside": Breakage(_with_number(text_config={"num_layers": 10**9}), _INVALID, ("num_layers is 1000000000",)),
    "broken_template": Breakage(_broken_template, _INVALID, ("chat template",)),
    "wrong_shapes": Breakage(_wrong_shapes, _INVALID, (*_WEIGHTS, "config.json")),
    "missing_tensor": Breakage(_missing_tensor, _INVALID, ("model.norm.weight",)),
    "no_weights": Breakage(_no_weights, _INVALID, ("safetensors",)),
    "config_bad_json": Breakage(_config_bad_json, _INVALID, ("config.json",)),
    "config_not_object": Breakage(_config_not_object, _INVALID, ("config.json",)),
    "config_missing": Breakage(_config_missing, _INVALID, ("config.json",)),
    "config_not_utf8": Breakage(_config_not_utf8, _INVALID, ("config.json",)),
    "config_wrong_type": Breakage(_config_wrong_type, _INVALID, ("config.json",)),
    "config_without_key": Breakage(_config_without_key, _INVALID, ("config.json",)),
    "no_model_type": Breakage(_no_model_type, _EITHER, ("config.json",)),
    "unknown_model_type": Breakage(_unknown_model_type, _UNSUPPORTED, ("quux9000",)),
    "exiting_model_type": Breakage(_exiting_model_type, _EITHER, ("config.json",)),
    "escaping_model_type": Breakage(_escaping_model_type, _EITHER, ("..utils", "config.json")),
    "helper_model_type": Breakage(_helper_model_type, _UNSUPPORTED, ("config.json", "'cache'")),
    "model_file": Breakage(_model_file, _UNSUPPORTED, ("config.json", "custom.py")),
    "auto_map": Breakage(_auto_map, _UNSUPPORTED, ("tokenizer_config.json",)),
    "no_tokenizer": Breakage(_no_tokenizer, _INVALID, ("tokenizer.json",)),
    "tokenizer_bad_json": Breakage(_tokenizer_bad_json, _INVALID, ("tokenizer.json",)),
    "tokenizer_wrong_content": Breakage(_tokenizer_wrong_content, _INVALID, ("tokenizer.json",)),
    "tokenizer_panics_when_read": _with_normalizer({"type": "Precompiled", "precompiled_charsmap": ""}),
    "tokenizer_panics_on_text": _with_normalizer({"type": "Prepend", "prepend": ""}),
    "pickle_only": Breakage(_pickle_only, _EITHER, ("safetensors", "pytorch_model.bin")),
    **{f"pipe {name}": _in_place_of(name, os.mkfifo) for name in OPENED},
    **{f"endless {name}": _in_place_of(name, _endless_device) for name in OPENED},
    **{f"huge {name}": _in_place_of(name, _huge_hole) for name in OPENED if not name.endswith("safetensors")},
}


def build_broken(folder: Path, sound: Path, breakage: str) -> Path:
    """Copy a sound model's folder and spoil the copy in the named way."""
    shutil.copytree(sound, folder)
    BREAKAGES[breakage].spoil(folder)
    return folder


class Shelf:
    """Models built once per test session, each in a folder of its own under `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def family(self, family: str, precision: str = "float32", *, tokenizer: str | None = None) -> Path:
        """The folder of a family's model with random weights."""
        folder = self.root / "-".join(filter(None, (family, precision, tokenizer)))
        return folder if folder.exists() else build_model(folder, family, precision, tokenizer=tokenizer)

    def reciter(self, name: str, script: Script) -> Path:
        """The folder of a model that recites; `name` must always come with the same script."""
        folder = self.root / f"reciter-{name}"
        return folder if folder.exists() else build_reciter(folder, script)

    def endless(self) -> Path:
        """The folder of a model that talks until it's stopped: 64,000 tokens fit its context."""
        words = Script(" alpha beta gamma delta", endless=True, max_position_embeddings=65536)
        return self.reciter("endless", words)

    def slow(self) -> Path:
        """The folder of a model whose steps take seconds on a CPU: 4 bits with 16-bit scales are its weak side."""
        folder = self.root / "slow"
        if folder.exists():
            return folder
        return build_model(folder, "llama", "half 4bit", hidden_size=160, intermediate_size=768)

    def broken(self, breakage: str) -> Path:
        """The folder of a model that is spoilt in the named way."""
        folder = self.root / f"broken-{breakage}"
        return folder if folder.exists() else build_broken(folder, self.family("llama"), breakage)

    def adapter(self, model_folder: Path) -> Path:
        """The folder of a LoRA adapter for that model."""
        folder = self.root / f"adapter-{model_folder.name}"
        return folder if folder.exists() else build_adapter(folder, model_folder)
