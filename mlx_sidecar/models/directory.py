"""A model folder, checked before anything in it is believed. Reads headers only, imports no MLX.

What is found wrong is told with the file and the reason; nothing in a folder is ever run.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from msgspec import Struct

from mlx_sidecar.errors import ModelInvalid, ModelNotFound, ModelUnsupported
from mlx_sidecar.models import counts, safetensors
from mlx_sidecar.models.files import (
    MOST_INDEX_BYTES,
    MOST_SETTINGS_BYTES,
    MOST_TENSOR_VALUES,
    MOST_VALUES,
    look_through,
    parse_json,
    read_file,
)
from mlx_sidecar.models.safetensors import WeightFile

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "tiktoken.model", "tekken.json", "vocab.json", "vocab.txt")


class ModelDirectory(Struct, frozen=True):
    """A folder that holds a whole model, as far as its headers tell."""

    path: Path
    config: dict[str, Any]
    tokenizer_config: dict[str, Any]
    weight_files: tuple[WeightFile, ...]

    @property
    def model_type(self) -> str:
        return str(self.config["model_type"])

    @property
    def weight_bytes(self) -> int:
        """What the tensors take in the files."""
        return sum(file.data_bytes for file in self.weight_files)


def check(path: Path) -> ModelDirectory:
    """Read what loading will need.

    Raises ModelNotFound, ModelInvalid or ModelUnsupported, naming the file.
    """
    if not path.is_dir():
        what = "is a file, not a folder" if path.exists() else "does not exist"
        raise ModelNotFound(f"the model folder '{path}' {what}; give the folder that holds config.json, or a GGUF file")
    config = read_config(path)
    _refuse_code(path, config)
    look_through(path)
    tokenizer_config = read_json(path / "tokenizer_config.json") if (path / "tokenizer_config.json").exists() else {}
    if "auto_map" in tokenizer_config:
        raise ModelUnsupported(
            f"{path / 'tokenizer_config.json'} asks for code of its own ('auto_map'), which is never run",
            {"file": "tokenizer_config.json"},
        )
    if not any((path / name).exists() for name in _TOKENIZER_FILES):
        raise ModelInvalid(f"{path} has no tokenizer (tokenizer.json or tokenizer.model)", {"file": "tokenizer.json"})
    weight_files = tuple(safetensors.check(file) for file in _weight_files(path))
    tensors = sum(len(file.names) for file in weight_files)
    if not tensors:
        raise ModelInvalid(f"{weight_files[0].path} holds no tensors", {"file": weight_files[0].path.name})
    counts.check(path, config, tensors)
    return ModelDirectory(path, config, tokenizer_config, weight_files)


def read_config(path: Path) -> dict[str, Any]:
    """config.json with a model_type in it."""
    config = read_json(path / "config.json", most_values=MOST_TENSOR_VALUES)
    if not isinstance(config.get("model_type"), str):
        raise ModelInvalid(f"{path / 'config.json'} names no model_type", {"file": "config.json"})
    return config


def read_json(file: Path, most_bytes: int = MOST_SETTINGS_BYTES, most_values: int = MOST_VALUES) -> dict[str, Any]:
    """A JSON object out of a model folder."""
    try:
        return parse_json(read_file(file, most_bytes), most_values)
    except FileNotFoundError:
        raise ModelInvalid(f"{file} is missing", {"file": file.name}) from None
    except (OSError, ValueError, RecursionError) as problem:
        raise ModelInvalid(f"{file} can't be read: {problem}", {"file": file.name}) from None


def quantization_of(config: dict[str, Any]) -> dict[str, Any] | None:
    """bits, group_size and mode of the weights, as far as config.json states them."""
    stated = config.get("quantization") or config.get("quantization_config")
    if not isinstance(stated, dict):
        return None
    kinds: dict[str, type] = {"bits": int, "group_size": int, "mode": str}
    return {name: stated[name] for name, kind in kinds.items() if type(stated.get(name)) is kind}


def _refuse_code(path: Path, config: dict[str, Any]) -> None:
    if config.get("model_file") is not None:
        raise ModelUnsupported(
            f"{path / 'config.json'} asks for code of its own ('model_file'), which is never run",
            {"file": "config.json"},
        )
    if not re.fullmatch(r"[A-Za-z0-9_-]+", config["model_type"]):
        raise ModelInvalid(f"{path / 'config.json'} names an impossible model_type", {"file": "config.json"})


def _weight_files(path: Path) -> tuple[Path, ...]:
    named = _named_by_index(path)
    for name in named:
        if not os.path.isfile(path / name):  # noqa: PTH113 - a Path raises where a name is too long
            raise ModelInvalid(
                f"{path / name[:255]} is missing, though model.safetensors.index.json names it; fetch the model again",
                {"file": name[:255]},
            )
    found = sorted(path.glob("model*.safetensors"))
    if not found:
        other = next((f.name for f in sorted(path.iterdir()) if f.suffix in {".bin", ".pt", ".pth"}), None)
        hint = f"; {other} is of a kind that isn't read, convert the model to MLX" if other else ""
        raise ModelInvalid(f"{path} has no model*.safetensors{hint}", {"file": "model.safetensors"})
    return tuple(found)


def _named_by_index(path: Path) -> list[str]:
    index = path / "model.safetensors.index.json"
    if not index.exists():
        return []
    weight_map = read_json(index, MOST_INDEX_BYTES, MOST_TENSOR_VALUES).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        raise ModelInvalid(f"{index} has no weight_map", {"file": index.name})
    names = sorted(set(weight_map.values()))
    if outside := [name for name in names if name != os.path.basename(name)]:  # noqa: PTH119 - a name, not a path
        raise ModelInvalid(f"{index} names a file outside the folder: {outside[0][:255]!r}", {"file": index.name})
    return names
