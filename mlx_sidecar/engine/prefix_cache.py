"""What was computed for earlier prompts, for later ones that begin alike.

Least recently used first out, within a budget of bytes. A cache of attention
keys and values can be trimmed to what two prompts have in common; those of
sliding windows that are full and of state-space layers can't, so they serve
only prompts that begin with all of their tokens. (mlx_lm's LRUPromptCache keeps
its entries in a trie of tokens, and looking up a short prompt beside a long
entry takes it time with the square of the entry's length.)

Prompts say where they will be cut again: after the system text, after the document (`Prompt.reusable`). Sliding
windows and state-space layers can't be cut back, so their prompts are computed in segments that end there, and the
cache is kept at each of these points (2026-11-21).
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import ArraysCache, CacheList, RotatingKVCache, can_trim_prompt_cache, trim_prompt_cache

from mlx_sidecar.engine.job import PrefixCacheUse
from mlx_sidecar.engine.tokens import Tokens, as_tokens, common_length

Cache = list[Any]

_MOST_ENTRIES = 256
_SHORTEST_PREFIX = 16
"""Fewer tokens than this are quicker computed than copied."""


def trimmed(cache: Cache, held: int, wanted: int) -> Cache:
    """A cache that holds the first `wanted` of its `held` tokens.

    The arrays are shared, nothing is computed: merge it into a batch, don't write into it.
    """
    made = [_layer_copy(layer) for layer in cache]
    if held > wanted:
        trim_prompt_cache(made, held - wanted)
    return made


def always_trims(cache: Cache) -> bool:
    """Whether these layers can be cut back to any length, however much they hold."""
    return all(layer.is_trimmable() and not isinstance(layer, RotatingKVCache) for layer in flat(cache))


def has_state(cache: Cache) -> bool:
    """Whether some of these layers hold a state that can't be cut back at all."""
    return not can_trim_prompt_cache(cache)


def flat(cache: Iterable[Any]) -> Iterator[Any]:
    """Each layer's caches, also where a layer has several."""
    for layer in cache:
        if isinstance(layer, CacheList):
            yield from flat(layer.caches)
        else:
            yield layer


def _layer_copy(layer: Any) -> Any:
    if isinstance(layer, CacheList):
        return CacheList(*map(_layer_copy, layer.caches))
    made = copy.copy(layer)
    if isinstance(layer, ArraysCache):
        made.cache = list(layer.cache)
    return made


def _detach(layer: Any) -> None:
    """A state that was cut out of a batch is a view of it, which would keep the whole batch's memory."""
    if isinstance(layer, ArraysCache):
        layer.cache = [state + 0 if state is not None else None for state in layer.cache]


@dataclass(frozen=True)
class _Entry:
    tokens: Tokens
    cache: Cache
    bytes: int
    trims: bool

    def serves(self, wanted: Tokens) -> int:
        """How many of the wanted tokens, one less than all at most, this entry saves computing."""
        common = min(common_length(self.tokens, wanted), len(wanted) - 1)
        return common if self.trims or common == len(self.tokens) else 0


class PrefixCache:
    """Caches by their tokens, within `budget_bytes`; a budget of 0 keeps nothing."""

    def __init__(self, budget_bytes: int) -> None:
        self.version = 0  # changes with what is kept
        self._budget_bytes = budget_bytes
        self._bytes = 0
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()

    @property
    def use(self) -> PrefixCacheUse:
        """How full it is."""
        return PrefixCacheUse(len(self._entries), self._bytes, self._budget_bytes)

    def longest(self, tokens: Tokens) -> int:
        """How many tokens of this beginning are kept. One is always left to compute: its logits are needed."""
        return self._best(tokens)[1]

    def fetch(self, tokens: Tokens) -> tuple[Cache | None, int]:
        """A cache for the longest beginning that is kept, and its length."""
        key, known = self._best(tokens)
        if known == 0:
            return None, 0
        self._entries.move_to_end(key)
        entry = self._entries[key]
        return trimmed(entry.cache, len(entry.tokens), known), known

    def _best(self, tokens: Tokens) -> tuple[bytes, int]:
        """The entry that serves most of these tokens, and how many; 0 where that isn't worth it."""
        served = ((key, entry.serves(tokens)) for key, entry in self._entries.items())
        key, known = max(served, key=lambda each: each[1], default=(b"", 0))
        return (key, known) if known >= _SHORTEST_PREFIX else (key, 0)

    def keep(self, tokens: Sequence[int], cache: Cache) -> None:
        """Keep a cache if it holds exactly these tokens and fits the budget."""
        layers = list(flat(cache))
        exact = all(layer.offset == len(tokens) for layer in layers if hasattr(layer, "offset"))
        size = sum(layer.nbytes for layer in cache)
        if not exact or len(tokens) < _SHORTEST_PREFIX or size > self._budget_bytes:
            return
        for layer in layers:
            _detach(layer)
        # Until it is computed, it holds what it is computed from.
        mx.async_eval([layer.state for layer in cache])  # type: ignore[no-untyped-call]
        entry = _Entry(as_tokens(tokens), cache, size, can_trim_prompt_cache(cache))
        for key, other in list(self._entries.items()):
            if _is_needless(other, entry):
                self._drop(key)
        self.version += 1
        self._entries[entry.tokens.tobytes()] = entry
        self._bytes += size
        while self._bytes > self._budget_bytes or len(self._entries) > _MOST_ENTRIES:
            self._drop(next(iter(self._entries)))

    def shrink(self, freed_bytes: int) -> None:
        """Let go of what was used least recently, so many bytes of it or all."""
        least = self._bytes - freed_bytes
        while self._entries and self._bytes > least:
            self._drop(next(iter(self._entries)))
            self.version += 1

    def clear(self) -> None:
        """Keep nothing of what is there."""
        self.version += 1
        self._bytes = 0
        self._entries.clear()

    def _drop(self, key: bytes) -> None:
        self._bytes -= self._entries.pop(key).bytes


def _is_needless(other: _Entry, new: _Entry) -> bool:
    """Whether `new` serves all that `other` does."""
    common = common_length(other.tokens, new.tokens)
    return common == len(other.tokens) and (new.trims or common == len(new.tokens))
