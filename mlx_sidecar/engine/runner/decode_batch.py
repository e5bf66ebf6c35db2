"""The sequences that decode together: their cache and the tokens that come next into the network."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import mlx.core as mx

from mlx_sidecar.engine.prefix_cache import Cache
from mlx_sidecar.engine.runner import kv_cache


class DecodeBatch:
    """Owns one cache for all of its sequences.

    A single sequence keeps a cache of its own kind: its attention needs no mask, which a batch's does.
    """

    def __init__(self) -> None:
        self.tickets: list[int] = []
        self._inputs: Any = None
        """Shape (sequences,); the tokens may still be on their way."""
        self._cache: Cache = []

    def __len__(self) -> int:
        return len(self.tickets)

    def join(self, tickets: Sequence[int], last_tokens: Sequence[int], cache: Cache) -> None:
        """Add sequences with their cache: a single one's own, or a merged one. Both caches are used up."""
        inputs = mx.array(list(last_tokens), dtype=mx.uint32)
        if not self.tickets:
            self.tickets, self._inputs, self._cache = list(tickets), inputs, cache
            return
        mine = kv_cache.merged([self._cache]) if len(self.tickets) == 1 else self._cache
        theirs = kv_cache.merged([cache]) if len(tickets) == 1 else cache
        for layer, other in zip(mine, theirs, strict=True):
            layer.extend(other)
        self._cache = mine
        self.tickets += tickets
        self._inputs = mx.concatenate([self._inputs, inputs])

    def forward(self, network: Any) -> tuple[mx.array, mx.array]:
        """The tokens that go in, shape (sequences,), and the logits of what follows, shape (sequences, vocabulary)."""
        logits = network(self._inputs[:, None], cache=self._cache)
        return self._inputs, logits[:, -1, :]

    def follow(self, tokens: mx.array) -> None:
        """The tokens that were chosen come next."""
        self._inputs = tokens

    def extract(self, ticket: int) -> Cache:
        """A copy of one sequence's cache."""
        return self._single(self.tickets.index(ticket))

    def remove(self, tickets: Collection[int]) -> None:
        """Take sequences out."""
        places = [place for place, ticket in enumerate(self.tickets) if ticket not in tickets]
        if len(places) == len(self.tickets):
            return
        if not places:
            self._cache, self._inputs = [], None
        else:
            if len(places) == 1:
                self._cache = self._single(places[0])
            else:
                for layer in self._cache:
                    layer.filter(places)
            self._inputs = self._inputs[mx.array(places)]
        self.tickets = [self.tickets[place] for place in places]

    def _single(self, place: int) -> Cache:
        if len(self.tickets) == 1:
            return kv_cache.exact(self._cache)
        return [layer.extract(place) for layer in self._cache]
