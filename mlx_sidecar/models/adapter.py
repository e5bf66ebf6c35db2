"""A LoRA, DoRA or full adapter: a folder of its own, checked like a model's. Imports no MLX."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlx_sidecar.errors import ModelInvalid
from mlx_sidecar.models import directory, safetensors
from mlx_sidecar.models.files import MOST_SETTINGS_BYTES, look_through

CONFIG, WEIGHTS = "adapter_config.json", "adapters.safetensors"
_KINDS = ("lora", "dora", "full")
"""What mlx_lm.tuner makes; it takes anything else for LoRA."""


def check(path: Path) -> None:
    """Read its settings and its weights' header. Raises ModelInvalid, naming the file."""
    look_through(path)
    config = directory.read_json(path / CONFIG, MOST_SETTINGS_BYTES)
    kind = config.get("fine_tune_type", "lora")
    if kind not in _KINDS:
        raise ModelInvalid(
            f"{path / CONFIG} asks for the fine_tune_type '{str(kind)[:100]}', and there are {', '.join(_KINDS)}",
            {"file": CONFIG},
        )
    if kind != "full":
        _check_settings(path / CONFIG, config)
    if not (path / WEIGHTS).is_file():
        message = f"{path / WEIGHTS} is missing; an adapter folder holds it beside {CONFIG}"
        raise ModelInvalid(message, {"file": WEIGHTS})
    _check_tensors(path / WEIGHTS, safetensors.check(path / WEIGHTS).names, kind)


def _check_settings(file: Path, config: dict[str, Any]) -> None:
    """The numbers that mlx_lm computes with."""
    parameters = config.get("lora_parameters")
    numbers = {**parameters, **config} if isinstance(parameters, dict) else config
    for name, kinds in {"num_layers": (int,), "rank": (int,), "scale": (int, float), "dropout": (int, float)}.items():
        if type(numbers.get(name)) not in kinds:
            raise ModelInvalid(f"{file} states no {name} that is a number", {"file": file.name})


def _check_tensors(file: Path, names: tuple[str, ...], kind: str) -> None:
    """Without any of its matrices nothing bounds the rank that the settings state."""
    if not names:
        raise ModelInvalid(f"{file} holds no tensors", {"file": file.name})
    if kind != "full" and not any(name.endswith("lora_a") for name in names):
        raise ModelInvalid(f"{file} holds no adapter's tensors (lora_a, lora_b)", {"file": file.name})
