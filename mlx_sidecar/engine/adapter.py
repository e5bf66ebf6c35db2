"""A LoRA, DoRA or full adapter: a folder of its own, checked like a model's, put on a network by mlx_lm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlx_sidecar.engine import folder as folders
from mlx_sidecar.engine import weight_file
from mlx_sidecar.engine.model_file import MOST_SETTINGS_BYTES, look_through
from mlx_sidecar.errors import ModelInvalid

_CONFIG, _WEIGHTS = "adapter_config.json", "adapters.safetensors"
_KINDS = ("lora", "dora", "full")
"""What mlx_lm.tuner makes; it takes anything else for LoRA."""


def check(path: Path) -> None:
    """Read its settings and its weights' header. Raises ModelInvalid, naming the file."""
    look_through(path)
    config = folders.read_json(path / _CONFIG, MOST_SETTINGS_BYTES)
    kind = config.get("fine_tune_type", "lora")
    if kind not in _KINDS:
        raise ModelInvalid(
            f"{path / _CONFIG} asks for the fine_tune_type '{str(kind)[:100]}', and there are {', '.join(_KINDS)}",
            {"file": _CONFIG},
        )
    if kind != "full":
        _check_settings(path / _CONFIG, config)
    if not (path / _WEIGHTS).is_file():
        message = f"{path / _WEIGHTS} is missing; an adapter folder holds it beside {_CONFIG}"
        raise ModelInvalid(message, {"file": _WEIGHTS})
    _check_tensors(path / _WEIGHTS, weight_file.check(path / _WEIGHTS).names, kind)


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


def put_on(network: Any, path: Path) -> Any:
    """The network with the adapter, nothing of it read yet. Raises ModelInvalid where the two don't fit."""
    from mlx_lm.utils import load_adapters

    try:
        network = load_adapters(network, str(path))
        network.eval()
    except MemoryError:
        raise
    except Exception as problem:  # As with models, it fails in many ways.
        text = " ".join(str(problem).split())[:500] or type(problem).__name__
        # Its own words where tensors and network differ; everything else comes of the settings.
        file = path / (_WEIGHTS if "incompatible tensors" in text else _CONFIG)
        reason = f"{file} doesn't fit the model: {text} ({type(problem).__name__})"
        raise ModelInvalid(reason, {"file": file.name, "reason": text}) from problem
    _check_names(network, path / _WEIGHTS)
    return network


def _check_names(network: Any, file: Path) -> None:
    """mlx_lm before 0.32, the newest for Python 3.10, leaves out what it finds no place for, and says nothing."""
    from mlx.utils import tree_flatten

    places = {name for name, _ in tree_flatten(network.parameters())}
    foreign = [name for name in weight_file.check(file).names if name not in places]
    if foreign:
        reason = f"the model has no place for {len(foreign)} of its tensors, such as '{foreign[0][:100]}'"
        raise ModelInvalid(f"{file} doesn't fit the model: {reason}", {"file": file.name, "reason": reason})
