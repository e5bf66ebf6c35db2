"""KV caches: of one sequence, merged into a batch, and copied. A cache is one object of mlx_lm's for each layer."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import CacheList, KVCache

from mlx_sidecar.engine.prefix_cache import Cache


def merged(caches: Sequence[Cache]) -> Cache:
    """One cache for a batch of these sequences. Copies them; the shorter ones are padded on the left."""
    return [layers[0].merge(list(layers)) for layers in zip(*caches, strict=True)]


def writable(cache: Cache) -> Cache:
    """A cache with the same content that can be written into: MLX copies an array when the first of its users does."""
    return copy.deepcopy(cache)


def exact(cache: Cache) -> Cache:
    """A copy that holds what was computed and no more: a KVCache grows by 256 tokens at a time."""
    return [_exact_layer(layer) for layer in cache]


def _exact_layer(layer: Any) -> Any:
    if isinstance(layer, CacheList):
        return CacheList(*map(_exact_layer, layer.caches))
    made = copy.deepcopy(layer)
    if isinstance(layer, KVCache) and layer.keys is not None:
        made.keys = mx.contiguous(layer.keys[..., : layer.offset, :])
        made.values = mx.contiguous(layer.values[..., : layer.offset, :])
    return made


def states(cache: Cache) -> list[Any]:
    """What the cache consists of, for `mx.eval` and `mx.async_eval`."""
    return [layer.state for layer in cache]


def compute_padded(network: Any, rows: Sequence[Sequence[int]], cache: Cache) -> None:
    """Compute rows of different lengths behind a batch's cache. The padding is on the right, and taken out again."""
    lengths = [len(row) for row in rows]
    longest = max(lengths)
    padding = [longest - length for length in lengths]
    if any(padding):
        for layer in cache:
            layer.prepare(lengths=lengths, right_padding=padding)
    network(mx.array([[*row, *[0] * more] for row, more in zip(rows, padding, strict=True)]), cache=cache)
    if any(padding):
        for layer in cache:
            layer.finalize()
