"""Prompts that are computed by themselves, outside of the batch, piece by piece.

`Ahead`: after a load the loop computes what all prompts of the tasks begin with, in pieces of 64 tokens, as long as
no request waits. What is computed by then serves the first request (2026-11-28).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import make_prompt_cache

from mlx_sidecar.engine.memory import Budget, RowCost
from mlx_sidecar.engine.prefix_cache import Cache, PrefixCache
from mlx_sidecar.engine.tokens import as_tokens

_NO_MORE = object()


class LonePrompt:
    """One prompt on its way: its cache, how many of its tokens that holds, and the logits of what follows them."""

    def __init__(self, network: Any, kept: PrefixCache, tokens: Sequence[int]) -> None:
        self._network, self._tokens = network, list(tokens)
        cache, self.computed = kept.fetch(as_tokens(tokens))
        # What is kept is shared with others, and computing writes into it.
        self.cache: Cache = copy.deepcopy(cache) if cache is not None else make_prompt_cache(network)
        self.logits: Any = None
        """Shape (1, vocabulary); None before the first step."""

    @property
    def is_done(self) -> bool:
        """Whether all of it is computed."""
        return self.computed == len(self._tokens)

    def step(self, most_tokens: int) -> None:
        """Compute the next piece."""
        piece = self._tokens[self.computed : self.computed + most_tokens]
        self.logits = self._network(mx.array([piece]), cache=self.cache)[:, -1, :]
        self.computed += len(piece)
        # The logits aren't asked for: those of all pieces but the last are never computed.
        mx.eval([layer.state for layer in self.cache])

    def keep(self, kept: PrefixCache) -> None:
        """Leave what is computed to prompts that begin alike. Nothing may be computed after that."""
        kept.keep(self._tokens[: self.computed], self.cache)


class Ahead:
    """The beginnings of prompts that are likely to come, computed while nobody waits for anything.

    A request that comes in between waits for one piece at most, and finds what is computed by then.
    """

    PIECE_TOKENS = 64

    def __init__(self, network: Any, kept: PrefixCache, cost: RowCost, budget: Budget) -> None:
        self._network, self._kept, self._cost, self._budget = network, kept, cost, budget
        self._waiting: list[Sequence[int]] = []
        self._current: LonePrompt | None = None
        self._pieces: Iterator[None] | None = None

    @property
    def has_work(self) -> bool:
        """Whether a step has anything to do."""
        return bool(self._waiting) or self._pieces is not None

    def then_make(self, pieces: Iterator[None]) -> None:
        """Make this as well, when all beginnings are there."""
        self._pieces = pieces

    def add(self, beginnings: Sequence[Sequence[int]]) -> None:
        """Compute these, too, where anything may be kept and memory holds them."""
        room = min(self._budget.room(), self._kept.use.budget_bytes)
        self._waiting += [tokens for tokens in beginnings if tokens and self._cost.bytes(len(tokens)) < room]

    def step(self) -> None:
        """Compute one piece."""
        if not self._waiting:
            self._make_a_piece()
            return
        prompt = self._current = self._current or LonePrompt(self._network, self._kept, self._waiting[0])
        prompt.step(self.PIECE_TOKENS)
        if prompt.is_done:
            self._waiting.pop(0)
            self.pause()

    def _make_a_piece(self) -> None:
        if self._pieces is not None and next(self._pieces, _NO_MORE) is _NO_MORE:
            self._pieces = None

    def pause(self) -> None:
        """Somebody waits: they get what there is, and the rest is computed when there is time again."""
        if self._current is not None:
            self._current.keep(self._kept)
            self._current = None

    def stop(self) -> None:
        """Compute nothing more."""
        self._waiting.clear()
        self._current = self._pieces = None
