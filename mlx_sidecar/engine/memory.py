"""The memory budget of models and batches, and the cost of a sequence. The engine checks it before it allocates.

Everything is in bytes. A batch is as wide as its longest row, so a long row that joins widens all others.

KV bytes per token are measured at load, layer by layer, not derived from config.json. A sequence joins when the
batch, as wide as its longest sequence can become, fits the memory that the device has now; the prefix cache gives way.
The price: sequences that end early had memory reserved that they never used (2026-11-21).
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


def is_out_of_memory(error: BaseException) -> bool:
    """Whether Python or MLX reports with this exception that memory ran out."""
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and bool(_MISSING.search(str(error))))


class Budget:
    """Memory for weights, caches and batch together: the device's, or less where a limit is set."""

    def __init__(self, limit_bytes: int | None) -> None:
        self._limit_bytes = limit_bytes

    def room(self, change_bytes: int = 0) -> int:
        """Bytes that weights and caches may still take, once `change_bytes` more are free."""
        return max(0, self._free() + change_bytes)

    def check(
        self, needed_bytes: int, sentence: str, change_bytes: int = 0, *, advice: str | None = None, **more: int | None
    ) -> None:
        """Raise OutOfMemory where `room` is less than `needed_bytes`, which replace `{}` in the sentence."""
        free = self._free() + change_bytes
        if needed_bytes > max(0, free):
            needed, available = format_byte_pair(needed_bytes, max(0, free))
            raise OutOfMemory(
                f"{sentence.format(needed)}, and {available} can be had; {advice or self._advice(needed_bytes - free)}",
                {"needed_bytes": needed_bytes, "available_bytes": max(0, free), **more},
            )

    def _free(self) -> int:
        """Free bytes; negative where not even the reserve for computing is free."""
        active, _, cached = device.memory_use()
        # MLX reuses the buffers in its own cache.
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
    """The cost of one sequence: bytes a token, for each attention window (0: unbounded), and a fixed state."""

    per_token: dict[int, int]
    fixed: int

    def bytes(self, tokens: int) -> int:
        """For a sequence of so many tokens."""
        grown = -(-tokens // _STEP_TOKENS) * _STEP_TOKENS
        return self.fixed + sum(cost * min(grown, window or grown) for window, cost in self.per_token.items())

    def of_batch(self, lengths: Sequence[int]) -> int:
        """For rows of these lengths together."""
        return len(lengths) * self.bytes(max(lengths, default=0))

    def most_tokens(self, room_bytes: int) -> int | None:
        """How many tokens fit into so many bytes; None if the cache size is bounded."""
        endless = self.per_token.get(0, 0)
        if not endless:
            return None
        steps = range(1, room_bytes // (endless * _STEP_TOKENS) + 1)
        return _STEP_TOKENS * bisect_right(steps, room_bytes, key=lambda step: self.bytes(step * _STEP_TOKENS))


def format_byte_pair(needed_bytes: int, available_bytes: int) -> tuple[str, str]:
    """Both numbers in one unit, rounded so that what is needed stays the larger."""
    in_mib = available_bytes >= 10 * 2**20
    size, unit = (2**20, "MiB") if in_mib else (2**10, "KiB")
    return f"{-(-needed_bytes // size)} {unit}", f"{available_bytes // size} {unit}"


def row_cost(cache: Cache) -> RowCost:
    """The cost, measured on the cache of one sequence after a forward pass."""
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
    """For how many tokens a layer's cache has room; 0 for a state."""
    keys = getattr(layer, "keys", None)
    shape = getattr(keys[0] if isinstance(keys, tuple | list) else keys, "shape", ())
    return int(shape[2]) if len(shape) == 4 else 0  # type: ignore[misc]
