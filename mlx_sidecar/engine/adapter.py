"""Puts a checked adapter on a network, by mlx_lm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlx_sidecar.errors import ModelInvalid
from mlx_sidecar.models import safetensors
from mlx_sidecar.models.adapter import CONFIG, WEIGHTS


def put_on(network: Any, path: Path) -> Any:
    """The network with the adapter, nothing of it read yet. Raises ModelInvalid where the two don't fit."""
    from mlx_lm.utils import load_adapters

    try:
        network = load_adapters(network, str(path))
        network.eval()
    except MemoryError:
        raise
    except Exception as error:  # As with models, it fails in many ways.
        text = " ".join(str(error).split())[:500] or type(error).__name__
        # Its own words where tensors and network differ; everything else comes of the settings.
        file = path / (WEIGHTS if "incompatible tensors" in text else CONFIG)
        reason = f"{file} doesn't fit the model: {text} ({type(error).__name__})"
        raise ModelInvalid(reason, {"file": file.name, "reason": text}) from error
    _check_names(network, path / WEIGHTS)
    return network


def _check_names(network: Any, file: Path) -> None:
    """mlx_lm before 0.32, the newest for Python 3.10, leaves out what it finds no place for, and says nothing."""
    from mlx.utils import tree_flatten

    places = {name for name, _ in tree_flatten(network.parameters())}
    foreign = [name for name in safetensors.check(file).names if name not in places]
    if foreign:
        reason = f"the model has no place for {len(foreign)} of its tensors, such as '{foreign[0][:100]}'"
        raise ModelInvalid(f"{file} doesn't fit the model: {reason}", {"file": file.name, "reason": reason})
