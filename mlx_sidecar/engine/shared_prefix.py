"""One prompt's keys and values for many rows that go on from it, each with tokens of its own.

A batch holds a copy of the prompt for each of its rows: 16 rows of a thousand tokens are a gigabyte in a model of 135
million parameters. Here the rows' own keys stand behind the prompt's, once for all rows, and the mask shows each row
the prompt and what is its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import CacheList, KVCache

from mlx_sidecar.engine.prefix_cache import Cache


def rows_after(cache: Cache, rows: int) -> Cache:
    """A cache for so many rows after this prompt, for one forward pass.

    What isn't plain keys and values (sliding windows, states) is copied for each row; it is small.
    """
    return [_rows_of(layer, rows) for layer in cache]


def is_shared(cache: Sequence[Any]) -> bool:
    """Whether rows after this prompt take no more memory than their own tokens."""
    return all(type(layer) is KVCache for layer in cache)


def _rows_of(layer: Any, rows: int) -> Any:
    if type(layer) is KVCache:
        return _SharedKeys(layer, rows)
    if isinstance(layer, CacheList):
        return CacheList(*(_rows_of(each, rows) for each in layer.caches))
    return layer.merge([layer] * rows)


class _SharedKeys:
    """One layer. Stands in a model's forward pass where a cache of mlx-lm's would."""

    def __init__(self, layer: KVCache, rows: int) -> None:
        self.offset: int = layer.offset
        self._keys, self._values = layer.keys[..., : self.offset, :], layer.values[..., : self.offset, :]
        self._shared, self._rows = self.offset, rows

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        """The prompt's, then those of all rows, seen by each row. Nothing is copied for the rows."""
        self.offset += keys.shape[2]
        return self._before(self._keys, keys), self._before(self._values, values)

    def _before(self, shared: mx.array, own: mx.array) -> mx.array:
        rows, heads, length, size = own.shape
        in_a_row = own.transpose(1, 0, 2, 3).reshape(1, heads, rows * length, size)
        whole = mx.concatenate([shared, in_a_row], axis=2)
        return mx.broadcast_to(whole, (rows, *whole.shape[1:]))

    def make_mask(self, length: int, window_size: int | None = None, **_: Any) -> Any:
        """Each row sees the prompt and its own tokens up to the one that asks, as far as a window reaches."""
        begins = mx.arange(self._rows * length)
        owner = mx.concatenate([mx.full((self._shared,), -1), begins // length])
        place = mx.concatenate([mx.arange(self._shared), self._shared + begins % length])
        asking = self._shared + mx.arange(length)
        visible = (owner == -1) | (owner == mx.arange(self._rows)[:, None])
        mask = visible[:, None, :] & (place <= asking[:, None])
        if window_size is not None:
            mask = mask & (asking[:, None] < place + window_size)
        return mask[:, None]
