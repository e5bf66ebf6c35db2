"""How likely a model is to go on with each of several texts: their log-probabilities after one prompt.

The prompt is computed once. Its last token's logits give the first token of
every text; texts of more tokens are then computed side by side, on copies of the
prompt's cache. All of it comes in pieces, so that a running batch isn't held up.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from mlx_sidecar.engine.alone import LonePrompt
from mlx_sidecar.engine.job import Continuations
from mlx_sidecar.engine.prefix_cache import Cache, PrefixCache
from mlx_sidecar.engine.tokenizer import Tokenizer

_PIECE_TOKENS = 256
"""Tokens of the prompt that are computed in one piece."""

_ROWS = 16
"""Texts that are computed side by side in one piece."""

Floats = NDArray[np.float64]


def tokens_after(tokenizer: Tokenizer, opening: str, texts: Sequence[str]) -> list[list[int]]:
    """The tokens that each text adds where it stands after `opening`."""
    before = tokenizer.encode(opening)
    added = []
    for text in texts:
        whole = tokenizer.encode(opening + text)
        joins = whole[: len(before)] == before and len(whole) > len(before)
        added.append(list(whole[len(before) :] if joins else tokenizer.encode(text)))
    return added


class Scoring:
    """The scores of one prompt's continuations, computed piece by piece."""

    def __init__(
        self,
        network: Any,
        kept: PrefixCache,
        prompt: Sequence[int],
        wanted: Continuations,
        tokens: Sequence[Sequence[int]],
        max_rows: int,
    ) -> None:
        self._network, self._kept, self._prompt = network, kept, prompt
        self._wanted, self._tokens, self._rows = wanted, tokens, max(1, min(max_rows, _ROWS))
        self.scores: tuple[float, ...] = ()
        """Natural logarithms of probabilities, in the continuations' order; minus infinity for what wasn't computed."""
        self._pieces = self._run()

    def step(self) -> bool:
        """Compute a piece; whether that was the last one."""
        return next(self._pieces, None) is None

    def _run(self) -> Iterator[bool]:
        prompt = LonePrompt(self._network, self._kept, self._prompt)
        prompt.step(_PIECE_TOKENS)
        while not prompt.is_done:
            yield True
            prompt.step(_PIECE_TOKENS)
        first = _log_probabilities(prompt.logits)[0]
        scores = np.array([first[tokens[0]] for tokens in self._tokens], dtype=np.float64)
        chosen = self._shortlist(scores)
        longer = sorted((n for n in chosen if len(self._tokens[n]) > 1), key=lambda n: len(self._tokens[n]))
        for start in range(0, len(longer), self._rows):
            yield True
            numbers = longer[start : start + self._rows]
            scores[numbers] += self._rest(prompt.cache, [self._tokens[number] for number in numbers])
        left_out = np.ones(len(scores), dtype=np.bool_)
        left_out[chosen] = False
        scores[left_out] = -math.inf
        self.scores = tuple(float(score) for score in scores)

    def _shortlist(self, scores: Floats) -> list[int]:
        """Those that are computed to their end: the most likely ones by their first tokens and what speaks for them."""
        ranked = np.argsort(-(scores + np.array(self._wanted.weights)), kind="stable")
        return [int(number) for number in ranked[: self._wanted.most]]

    def _rest(self, cache: Cache, some: Sequence[Sequence[int]]) -> Floats:
        """What the tokens after the first add to each score."""
        longest = max(map(len, some)) - 1
        inputs = np.zeros((len(some), longest), dtype=np.int32)
        targets = np.zeros((len(some), longest), dtype=np.int32)
        there = np.zeros((len(some), longest), dtype=np.bool_)
        for row, tokens in enumerate(some):
            inputs[row, : len(tokens) - 1] = tokens[:-1]
            targets[row, : len(tokens) - 1] = tokens[1:]
            there[row, : len(tokens) - 1] = True
        rows = [layer.merge([layer] * len(some)) for layer in cache]
        logits = self._network(mx.array(inputs), cache=rows).astype(mx.float32)
        logits = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
        found = np.array(mx.take_along_axis(logits, mx.array(targets)[:, :, None], axis=-1)[:, :, 0])
        sums: Floats = np.where(there, found, 0.0).sum(axis=1, dtype=np.float64)
        return sums


def _log_probabilities(logits: Any) -> NDArray[np.float32]:
    exact = logits.astype(mx.float32)
    return np.array(exact - mx.logsumexp(exact, axis=-1, keepdims=True))
