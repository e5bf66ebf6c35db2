"""How likely a model is to go on with each of several texts: their log-probabilities after one prompt.

The prompt is computed once. Its last token's logits give the first token of
every text; texts of more tokens are then computed side by side, each after the one
cache of the prompt. All of it comes in pieces, so that a running batch isn't held up.

A job asks for scores with `continuations`; the runner prefills its sequence in the batch like any other, and scores
it piece by piece afterwards.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import mlx.core as mx
import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from mlx_sidecar.engine.alone import LonePrompt
from mlx_sidecar.engine.job import Continuations, EngineEvent, Job, JobEnded, JobFailed, JobResult
from mlx_sidecar.engine.loaded import LoadedModel
from mlx_sidecar.engine.memory import Budget
from mlx_sidecar.engine.prefix_cache import Cache, PrefixCache
from mlx_sidecar.engine.recent import Recent
from mlx_sidecar.engine.shared_prefix import is_shared, rows_after
from mlx_sidecar.engine.tokenizer import Tokenizer

_PIECE_TOKENS = 256
"""Tokens of the prompt that are computed in one piece."""

_ROWS = (16, 8, 4, 2)
"""How many texts are computed side by side in one piece: as many as memory holds."""

_LEAST_NATS = -1e4

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
        rows: Callable[[int], int],
    ) -> None:
        self._network, self._kept, self._prompt = network, kept, prompt
        self._wanted, self._tokens, self._rows = wanted, tokens, rows
        self.scores: tuple[float, ...] = ()
        """Natural logarithms of probabilities, in the continuations' order."""
        self.first_scores: tuple[float, ...] = ()
        """The same of their first tokens alone."""
        self.not_computed = frozenset[int]()
        """Texts of several tokens of which only the first counts: of very many the likeliest are computed whole."""
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
        self.first_scores = _numbers(scores)
        several = [n for n, tokens in enumerate(self._tokens) if len(tokens) > 1]
        chosen = self._shortlist(scores, several)
        longer = sorted(chosen, key=lambda n: len(self._tokens[n]))
        while longer:
            yield True
            # What there is memory for may change from piece to piece.
            own = len(self._tokens[longer[-1]])
            rows = self._rows(own if is_shared(prompt.cache) else len(self._prompt) + own)
            numbers, longer = longer[:rows], longer[rows:]
            scores[numbers] += self._rest(prompt.cache, [self._tokens[number] for number in numbers])
        self.not_computed = frozenset(several).difference(chosen)
        self.scores = _numbers(scores)

    def _shortlist(self, scores: Floats, several: Sequence[int]) -> list[int]:
        """Those that are computed to their end: the most likely ones by their first tokens and what speaks for them."""
        worth = scores + np.array(self._wanted.weights)
        return sorted(several, key=lambda n: -worth[n])[: self._wanted.most]

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
        logits = self._network(mx.array(inputs), cache=rows_after(cache, len(some))).astype(mx.float32)
        logits = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
        found = np.array(mx.take_along_axis(logits, mx.array(targets)[:, :, None], axis=-1)[:, :, 0])
        sums: Floats = np.where(there, found, 0.0).sum(axis=1, dtype=np.float64)
        return sums


def _numbers(scores: Floats) -> tuple[float, ...]:
    """What a model gives no probability at all has a number, too, with which one can compute."""
    return tuple(np.maximum(scores, _LEAST_NATS).tolist())


def _log_probabilities(logits: Any) -> NDArray[np.float32]:
    exact = logits.astype(mx.float32)
    return np.array(exact - mx.logsumexp(exact, axis=-1, keepdims=True))


class _Scored(Struct, frozen=True, eq=False):
    """A sequence that has left the batch, and whose continuations are being scored."""

    ticket: int
    group: int
    result: JobResult
    scoring: Scoring


class ScoringQueue:
    """All scorings of one model, a piece at a time; requests take turns, however many prompts each has."""

    def __init__(self, model: LoadedModel, kept: PrefixCache, budget: Budget) -> None:
        self._model, self._kept, self._budget = model, kept, budget
        self._waiting: list[_Scored] = []
        self._tokens = Recent()
        """Of the lists of texts that were scored lately: a vocabulary comes again with each document."""
        self._latest_group = -1

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, ticket: int, group: int, job: Job, result: JobResult) -> None:
        """Score a job's continuations. Its prompt is in the prefix cache now, as far as anything may be kept."""
        wanted = job.continuations
        assert wanted is not None
        tokens = self._tokens.get(
            (wanted.opening, wanted.texts),
            lambda: tokens_after(self._model.tokenizer, wanted.opening, wanted.texts),
        )
        prompt = job.prompt.tokens
        scoring = Scoring(self._model.network, self._kept, prompt, wanted, tokens, self._rows)
        self._waiting.append(_Scored(ticket, group, result, scoring))

    def remove(self, ticket: int) -> None:
        """Score this job no more."""
        self._waiting = [each for each in self._waiting if each.ticket != ticket]

    def clear(self) -> None:
        """Let all of them go."""
        self._waiting.clear()

    def step(self) -> list[EngineEvent]:
        """Compute one piece of one scoring. What goes wrong is that one's alone."""
        if not self._waiting:
            return []
        others = (each for each in self._waiting if each.group != self._latest_group)
        current = next(others, self._waiting[0])
        self._latest_group = current.group
        ticket = current.ticket
        try:
            if not current.scoring.step():
                return []
        except BaseException as problem:  # whatever it was, nobody else's numbers depend on it
            self.remove(ticket)
            return [JobFailed(ticket, problem)]
        self.remove(ticket)
        scored = current.scoring
        found = replace(
            current.result,
            scores=scored.scores,
            first_scores=scored.first_scores,
            not_computed=scored.not_computed,
            ended_at=time.monotonic(),
        )
        return [JobEnded(ticket, found)]

    def _rows(self, length: int) -> int:
        room, cost = self._budget.room(), self._model.cost
        return next((rows for rows in _ROWS if cost.of_batch([length] * rows) < room), 1)
