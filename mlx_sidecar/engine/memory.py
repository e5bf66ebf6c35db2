"""What models and batches may take of the device's memory, and what a sequence will: asked before, not found out after.

Everything in bytes. A batch is as wide as its longest row, so a row that joins
makes all others as long as itself.

What a token of a sequence takes is read off the cache in which a model was tried out, layer by layer, not guessed
from config.json. A sequence joins when the batch, as wide as its longest sequence will be in the end, fits what the
device has now; the prefix cache makes way for it. The price: sequences that end early had memory reserved that they
never took (2026-11-21).
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from mlx_sidecar.engine import device
from mlx_sidecar.errors import OutOfMemory

if TYPE_CHECKING:
    from mlx_sidecar.engine.prefix_cache import Cache

_SPARE_BYTES = 256 * 1024 * 1024
"""What a model needs beside weights and caches to compute anything."""

_STEP_TOKENS = 256
"""Caches grow by so many tokens at a time (mlx_lm.models.cache)."""


_MISSING = re.compile(r"malloc|allocat|out of memory|insufficient memory", re.IGNORECASE)


def tells_of_missing_memory(problem: BaseException) -> bool:
    """Whether this is how Python, or MLX, says that memory couldn't be had."""
    return isinstance(problem, MemoryError) or (
        isinstance(problem, RuntimeError) and bool(_MISSING.search(str(problem)))
    )


class Budget:
    """Memory for weights, caches and batch together: what the device gives, or less where a limit is set."""

    def __init__(self, limit_bytes: int | None) -> None:
        self._limit_bytes = limit_bytes

    def room(self, change_bytes: int = 0) -> int:
        """Bytes that weights and caches may still take, or will once so many more are free."""
        return max(0, self._free() + change_bytes)

    def check(
        self, needed_bytes: int, sentence: str, change_bytes: int = 0, *, advice: str | None = None, **more: int | None
    ) -> None:
        """Raise OutOfMemory where `room` is less than that; `{}` in the sentence is for what is needed."""
        free = self._free() + change_bytes
        if needed_bytes > max(0, free):
            needed, there_is = needed_and_available(needed_bytes, max(0, free))
            raise OutOfMemory(
                f"{sentence.format(needed)}, and {there_is} can be had; {advice or self._advice(needed_bytes - free)}",
                {"needed_bytes": needed_bytes, "available_bytes": max(0, free), **more},
            )

    def _free(self) -> int:
        """Less than 0 where even what a model computes with isn't there."""
        active, _, cached = device.memory_use()
        # MLX's own cache of buffers is there to be used again.
        free = device.memory_for_models(active) + cached
        if self._limit_bytes is not None:
            free = min(free, self._limit_bytes - active)
        return free - _SPARE_BYTES

    def _advice(self, missing_bytes: int) -> str:
        if self._limit_bytes is None or Budget(None)._free() <= self._free():
            return "close other programs or choose a smaller model"
        return (
            f"--memory-limit-bytes is {self._limit_bytes}, of which {_SPARE_BYTES} are kept for computing: "
            f"set it to {self._limit_bytes + missing_bytes} at least, or choose a smaller model"
        )


class RowCost(Struct, frozen=True):
    """What one sequence takes: bytes a token, for each window that layers look back through (0: all), and a state."""

    per_token: dict[int, int]
    fixed: int

    def bytes(self, tokens: int) -> int:
        """For a sequence of so many tokens."""
        grown = -(-tokens // _STEP_TOKENS) * _STEP_TOKENS
        return self.fixed + sum(each * min(grown, window or grown) for window, each in self.per_token.items())

    def of_batch(self, lengths: Sequence[int]) -> int:
        """For rows of these lengths together."""
        return len(lengths) * self.bytes(max(lengths, default=0))

    def most_tokens(self, room_bytes: int) -> int | None:
        """How long a sequence may be within so many bytes; None where none of it grows for ever."""
        endless = self.per_token.get(0, 0)
        if not endless:
            return None
        steps = range(1, room_bytes // (endless * _STEP_TOKENS) + 1)
        return _STEP_TOKENS * bisect_right(steps, room_bytes, key=lambda step: self.bytes(step * _STEP_TOKENS))


def needed_and_available(needed_bytes: int, available_bytes: int) -> tuple[str, str]:
    """The two in words, in a unit in which the one is more than the other."""
    in_mib = available_bytes >= 10 * 2**20
    size, unit = (2**20, "MiB") if in_mib else (2**10, "KiB")
    return f"{-(-needed_bytes // size)} {unit}", f"{available_bytes // size} {unit}"


def row_cost(cache: Cache) -> RowCost:
    """Measured from the cache of one sequence in which something was computed."""
    # Imports mlx_lm, which nobody may do before `mlx_lm_import` has; a budget is needed before.
    from mlx_sidecar.engine.prefix_cache import flat

    per_token: dict[int, int] = {}
    fixed = 0
    for layer in flat(cache):
        held = _tokens_held(layer)
        if held:
            window = int(getattr(layer, "max_size", 0) or 0)
            per_token[window] = per_token.get(window, 0) + -(-layer.nbytes // held)
        else:
            fixed += layer.nbytes
    return RowCost(per_token, fixed)


def _tokens_held(layer: Any) -> int:
    """For how many tokens a layer has room; 0 where it holds a state."""
    keys = getattr(layer, "keys", None)
    shape = getattr(keys[0] if isinstance(keys, tuple | list) else keys, "shape", ())
    return int(shape[2]) if len(shape) == 4 else 0  # type: ignore[misc]
