"""Tokens in a form that is quick to compare. No MLX."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.int32]


def as_tokens(tokens: Sequence[int]) -> Tokens:
    """The same tokens as an array."""
    return np.array(tokens, dtype=np.int32)


def common_length(one: Tokens, other: Tokens) -> int:
    """The length of the longest common prefix of two sequences."""
    shorter = min(len(one), len(other))
    different = one[:shorter] != other[:shorter]
    return int(different.argmax()) if different.any() else shorter
