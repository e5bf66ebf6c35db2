"""What was computed for earlier prompts, for later ones that begin alike.

mlx_lm's LRU of prompt caches, within a budget of bytes. Only caches that can be
trimmed to a common prefix are kept: for sliding windows that are full and for
state-space layers a shorter prefix can't be had from a longer one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlx_lm.models.cache import LRUPromptCache, can_trim_prompt_cache, trim_prompt_cache

from mlx_sidecar.engine.job import PrefixCacheUse

_MOST_ENTRIES = 256
_SHORTEST_PREFIX = 16
"""Fewer tokens than this are quicker computed than copied."""


class PrefixCache:
    """Prompt caches by their tokens, within `budget_bytes`; a budget of 0 keeps nothing."""

    def __init__(self, budget_bytes: int) -> None:
        self._budget_bytes = budget_bytes
        self._lru = LRUPromptCache(max_size=_MOST_ENTRIES, max_bytes=budget_bytes)

    @property
    def use(self) -> PrefixCacheUse:
        """How full it is."""
        return PrefixCacheUse(len(self._lru), self._lru.nbytes, self._budget_bytes)

    def fetch(self, tokens: Sequence[int]) -> tuple[list[Any] | None, int]:
        """A copy of the cache for the longest known prefix, and that prefix's length.

        At least one token is always left to compute: its logits are needed.
        """
        cache, rest = self._lru.fetch_nearest_cache(0, list(tokens))
        known = len(tokens) - len(rest)
        if cache is None or known < _SHORTEST_PREFIX:
            return None, 0
        if not rest:
            trim_prompt_cache(cache, 1)
            known -= 1
        return cache, known

    def keep(self, tokens: Sequence[int], cache: list[Any]) -> None:
        """Keep a cache if it holds exactly these tokens and can be of use later."""
        size = sum(layer.nbytes for layer in cache)
        exact = all(layer.offset == len(tokens) for layer in cache if hasattr(layer, "offset"))
        fits = len(tokens) >= _SHORTEST_PREFIX and size <= self._budget_bytes
        if exact and fits and can_trim_prompt_cache(cache):
            self._lru.insert_cache(0, list(tokens), cache)
