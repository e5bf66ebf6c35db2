"""The numbers in config.json for which a network is built one by one: layers, experts, heads. Imports no MLX.

Weights come into being when they are read, but a layer is a Python object as soon as mlx_lm hears of it: a wrong number
takes all memory and never lets anybody be answered. Sizes (hidden, vocabulary …) need no such check, they cost nothing
until they are compared with the weights' shapes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlx_sidecar.errors import ModelInvalid

_MOST_LAYERS = 1024
"""The deepest models that mlx_lm knows have fewer than 200."""

_MOST_PARTS = 2**18
"""Layers times experts, or heads: the largest models have some 100,000."""

_LAYERS = re.compile(r"(.+_)?(num|n)_(.+_)?layers?")
_PARTS = re.compile(r"(.+_)?(num|n)_(.+_)?(blocks|experts?(_per_tok(en)?)?|groups?|heads?|inputs|loops)|.+_num")


def check(path: Path, config: dict[str, Any], tensors: int) -> None:
    """Raise ModelInvalid where config.json counts more than weights of so many tensors can hold."""
    layers = 1
    for name, stated in _integers(config, _LAYERS):
        # Each layer has a tensor at least.
        _refuse_more_than(min(tensors, _MOST_LAYERS), path, name, stated, f"the weights have {tensors} tensors")
        layers = max(layers, stated)
    for name, stated in _integers(config, _PARTS):
        _refuse_more_than(_MOST_PARTS // layers, path, name, stated, f"there are {layers} layers")


def _integers(config: dict[str, Any], names: re.Pattern[str]) -> Iterator[tuple[str, int]]:
    """Also of `text_config`, which is where a model that sees has its language's settings."""
    inner = config.get("text_config")
    for settings in (config, inner if isinstance(inner, dict) else {}):
        yield from ((name, value) for name, value in settings.items() if type(value) is int and names.fullmatch(name))


def _refuse_more_than(most: int, path: Path, name: str, stated: int, why: str) -> None:
    if stated > most:
        file = path / "config.json"
        raise ModelInvalid(f"{file} can't be right: {name[:100]} is {str(stated)[:50]}, and {why}", {"file": file.name})
