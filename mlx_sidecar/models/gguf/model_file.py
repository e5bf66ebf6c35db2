"""A GGUF file, or a set of them, as a model that mlx-lm can run: a ModelDirectory's counterpart. Imports no MLX."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

from msgspec import Struct

from mlx_sidecar.errors import ModelInvalid, ModelUnsupported
from mlx_sidecar.models.files import open_file
from mlx_sidecar.models.gguf import architecture, files
from mlx_sidecar.models.gguf.architecture import Architecture, Floats
from mlx_sidecar.models.gguf.cursor import MAGIC
from mlx_sidecar.models.gguf.files import SUFFIX, GGUFModel
from mlx_sidecar.models.gguf.formats import format_of
from mlx_sidecar.models.gguf.header import TensorInfo

_MOST_FACTORS = 4096


class PlacedTensor(Struct, frozen=True):
    """A tensor with its name in mlx-lm."""

    name: str
    file: Path
    info: TensorInfo
    heads: int | None = None
    """Of how many heads the rows are to be brought from neighbours to halves."""
    less_one: bool = False
    """Whether mlx-lm adds the 1 that the file's values have already."""


class ModelFile(Struct, frozen=True):
    """Files that hold a whole model of an architecture that mlx-lm has, as far as their headers tell."""

    path: Path
    config: dict[str, Any]
    files: GGUFModel
    architecture: Architecture
    tensors: tuple[PlacedTensor, ...]

    @property
    def model_type(self) -> str:
        return self.architecture.model_type

    @property
    def weight_bytes(self) -> int:
        """What the tensors take in the files."""
        return self.files.weight_bytes


def is_model_file(path: Path) -> bool:
    """Whether that is to be a GGUF file: by its name, or by its first bytes (Ollama's files have other names)."""
    if path.suffix == SUFFIX and not path.is_dir():
        return True
    if not path.is_file():
        return False
    try:
        with open_file(path) as stream:
            return stream.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def check(path: Path) -> ModelFile:
    """Read what loading will need.

    Raises ModelNotFound, ModelInvalid or ModelUnsupported, naming the file.
    """
    model = files.check(path)
    return placed_in(model, lambda name: _floats(model, name))


def placed_in(model: GGUFModel, floats: Floats) -> ModelFile:
    """Where each tensor belongs in mlx-lm's network, by headers alone; `floats` reads the few that are settings.

    Raises ModelInvalid or ModelUnsupported.
    """
    found = architecture.architecture_of(model.header)
    infos = {name: info for name, (_, info) in model.places.items()}
    config = architecture.config_of(model.header, infos, floats)
    placed = []
    for name, (file, info) in model.places.items():
        try:
            if (called := architecture.name_of(found, name)) is None:
                continue
        except KeyError:
            raise ModelUnsupported(
                f"{file} holds '{name[:100]}', for which mlx-lm's {found.model_type} has no place",
                {"file": file.name, "tensor": name[:100]},
            ) from None
        if format_of(info.type.name) is None:
            raise ModelUnsupported(
                f"{file} holds '{name[:100]}' in the type {info.type.name}, which isn't read; "
                "take another quantization of the model, such as Q4_K_M",
                {"file": file.name, "tensor_type": info.type.name},
            )
        less_one = found.shifted_norms and name.endswith("norm.weight")
        placed.append(PlacedTensor(called, file, info, architecture.heads_to_turn(found, name, config), less_one))
    return ModelFile(model.path, config, model, found, tuple(placed))


def place_of_setting(model: GGUFModel, name: str) -> tuple[Path, TensorInfo]:
    """Where a small tensor lies that is a setting. Raises ModelInvalid where it is none."""
    if name not in model.places:
        model.header.refuse(f"holds no '{name[:100]}'")
    file, info = model.places[name]
    if info.type.name != "F32" or info.values > _MOST_FACTORS:
        model.header.refuse(f"holds '{name[:100]}' in a form that isn't read")
    return file, info


def _floats(model: GGUFModel, name: str) -> list[float]:
    file, info = place_of_setting(model, name)
    try:
        with open_file(file) as stream:
            raw = os.pread(stream.fileno(), info.size_bytes, info.offset)
        return list(struct.unpack(f"<{info.values}f", raw))
    except (OSError, struct.error) as problem:
        raise ModelInvalid(f"{file} can't be read: {problem}", {"file": file.name}) from None
