"""Samples the next tokens of all sequences of a batch at once.

Inverse-CDF sampling with one uniform number per token. A counter-based generator makes that number of the sequence's
seed and the position, so a text doesn't depend on the other sequences of the batch.

The alternative, noise on each logit, would come from MLX's generator and depend on its version and on the batch. Where
a grammar leaves few tokens (a sixteenth of the vocabulary), only those are gathered (2026-11-21).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx
import numpy as np
from mlx_lm.sample_utils import apply_min_p, apply_top_k, apply_top_p, make_repetition_penalty
from numpy.typing import NDArray

from mlx_sidecar.engine import device
from mlx_sidecar.engine.job import Sampling

TokenBitmask = NDArray[np.int32]
LogitsProcessor = Callable[[mx.array, mx.array], mx.array]

_MIN_TEMPERATURE = 1e-3
"""A lower temperature is greedy."""

_PENALTY_CONTEXT_TOKENS = 20
"""How far back the repetition penalty looks; mlx_lm's own default."""

_FEW = 16
"""Where every row allows at most the vocabulary divided by this, only the allowed tokens are gathered."""


class Draws:
    """The sampling options of one sequence, and its random numbers."""

    def __init__(self, sampling: Sampling) -> None:
        self._seed = sampling.seed if sampling.seed is not None else secrets.randbits(53)
        self._position = 0
        self.is_greedy = sampling.temperature < _MIN_TEMPERATURE
        self.temperature = sampling.temperature
        self.filters = (sampling.top_p, sampling.min_p, sampling.top_k)

    def rewind(self, position: int) -> None:
        """The next number is the one of this position."""
        self._position = position

    def next(self) -> float:
        """The next number, in [0, 1), exact in single precision."""
        number = _mix(self._seed, self._position) >> 40
        self._position += 1
        return number / 2**24


def _mix(seed: int, position: int) -> int:
    """SplitMix64 (Steele, Lea, Flood 2014): well spread 64-bit numbers from consecutive ones."""
    mask = 2**64 - 1
    z = (seed + (position + 1) * 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return z ^ (z >> 31)


def _repetition_penalty(sampling: Sampling, _: int) -> LogitsProcessor | None:
    if sampling.repetition_penalty == 1:
        return None
    return make_repetition_penalty(sampling.repetition_penalty, _PENALTY_CONTEXT_TOKENS)  # type: ignore[no-any-return]


def _presence_penalty(sampling: Sampling, prompt_tokens: int) -> LogitsProcessor | None:
    if sampling.presence_penalty == 0:
        return None

    def process(tokens: mx.array, logits: mx.array) -> mx.array:
        return logits - sampling.presence_penalty * (_counts(tokens[prompt_tokens:], logits) > 0)

    return process


def _frequency_penalty(sampling: Sampling, prompt_tokens: int) -> LogitsProcessor | None:
    if sampling.frequency_penalty == 0:
        return None

    def process(tokens: mx.array, logits: mx.array) -> mx.array:
        return logits - sampling.frequency_penalty * _counts(tokens[prompt_tokens:], logits)

    return process


def _counts(tokens: mx.array, logits: mx.array) -> mx.array:
    """How often each token of the vocabulary is there, shape (vocabulary,)."""
    return mx.zeros(logits.shape[-1], logits.dtype).at[tokens].add(1)


def _logit_bias(sampling: Sampling, _: int) -> LogitsProcessor | None:
    if not sampling.logit_bias:
        return None
    tokens, biases = mx.array(list(sampling.logit_bias)), mx.array(list(sampling.logit_bias.values()))

    def process(_: mx.array, logits: mx.array) -> mx.array:
        return logits.at[:, tokens].add(biases.astype(logits.dtype))

    return process


DRAWN_BY = frozenset({"temperature", "top_p", "top_k", "min_p", "seed"})
"""Options that say how a token is drawn; see Draws and _filtered."""

PROCESSORS: dict[str, Callable[[Sampling, int], LogitsProcessor | None]] = {
    "repetition_penalty": _repetition_penalty,
    "presence_penalty": _presence_penalty,
    "frequency_penalty": _frequency_penalty,
    "logit_bias": _logit_bias,
}
"""Options that change logits before they are probabilities, each with what makes its processor, None where off.

It gets the number of the prompt's tokens, which come first in what its processor is given.
"""

if unknown := set(Sampling.__struct_fields__) ^ (DRAWN_BY | PROCESSORS.keys()):
    raise RuntimeError(f"engine.job.Sampling and engine.sampling differ in {', '.join(sorted(unknown))}")


def make_processors(sampling: Sampling, prompt_tokens: int) -> list[LogitsProcessor]:
    """What changes a sequence's logits before they are probabilities."""
    made = (make(sampling, prompt_tokens) for make in PROCESSORS.values())
    return [processor for processor in made if processor is not None]


def choose(logprobs: mx.array, draws: Sequence[Draws], allowed: Sequence[TokenBitmask | None]) -> mx.array:
    """The next token of each row, shape (rows,), from log-probabilities, shape (rows, vocabulary)."""
    if all(bits is None for bits in allowed):
        return drawn(logprobs, draws)
    bits = _as_matrix(allowed, logprobs.shape[-1])
    may = np.unpackbits(bits.view(np.uint8), axis=1, bitorder="little", count=logprobs.shape[-1])
    most = int(may.sum(axis=1, dtype=np.int32).max())
    if most * _FEW > logprobs.shape[-1]:
        return drawn(device.mask_logits(logprobs, bits, may), draws)
    candidates, exist = _candidates(may, most)
    scores = mx.where(exist, mx.take_along_axis(logprobs, candidates, axis=-1), -mx.inf)
    places = drawn(scores, draws)
    return mx.take_along_axis(candidates, places[:, None], axis=-1)[:, 0]


def _as_matrix(allowed: Sequence[TokenBitmask | None], vocabulary: int) -> TokenBitmask:
    """All rows' bits, shape (rows, words); a row that may choose anything has all of them set."""
    words = (vocabulary + 31) // 32
    matrix = np.full((len(allowed), words), -1, dtype=np.int32)
    for row, bits in zip(matrix, allowed, strict=True):
        if bits is not None:
            row[: len(bits)] = bits[:words]
            row[len(bits) :] = 0
    return matrix


def _candidates(may: NDArray[np.uint8], most: int) -> tuple[mx.array, mx.array]:
    """The allowed tokens of each row, shape (rows, most), and which of these places are taken."""
    candidates = np.zeros((len(may), most), dtype=np.uint32)
    exists = np.zeros((len(may), most), dtype=np.bool_)
    for number, row in enumerate(may):
        tokens = np.flatnonzero(row)
        candidates[number, : len(tokens)] = tokens
        exists[number, : len(tokens)] = True
    return mx.array(candidates), mx.array(exists)


def drawn(scores: mx.array, draws: Sequence[Draws]) -> mx.array:
    """For each row of `scores` the index of the greatest, or a sampled one."""
    by_filters: dict[tuple[float, float, int], list[int]] = {}
    for place, draw in enumerate(draws):
        if not draw.is_greedy:
            by_filters.setdefault(draw.filters, []).append(place)
    chosen = mx.argmax(scores, axis=-1)
    for filters, places in by_filters.items():
        rows = [draws[place] for place in places]
        if len(places) == len(draws):
            return _inverse_cdf(_filtered(scores, *filters), rows)
        some = mx.array(places)
        chosen[some] = _inverse_cdf(_filtered(scores[some], *filters), rows)
    return chosen


def _filtered(scores: mx.array, top_p: float, min_p: float, top_k: int) -> mx.array:
    """top_p, min_p, top_k, in mlx_lm's order."""
    if top_p < 1:
        scores = apply_top_p(scores - mx.logsumexp(scores, axis=-1, keepdims=True), top_p)
    if min_p > 0:
        scores = apply_min_p(scores, min_p)
    if 0 < top_k < scores.shape[-1]:
        scores = apply_top_k(scores, top_k)
    return scores


def _inverse_cdf(scores: mx.array, draws: Sequence[Draws]) -> mx.array:
    """Inverse CDF: the index at which the cumulative sum of each row's probabilities passes its number."""
    sharpness = _column([1.0 / draw.temperature for draw in draws])
    scores = scores.astype(mx.float32)
    weights = mx.exp((scores - mx.max(scores, axis=-1, keepdims=True)) * sharpness)
    # Only where there is weight: a parallel sum may differ in its last bits from one index to the next.
    sums = mx.cumsum(weights, axis=-1) * (weights > 0)
    passed = sums > _column([draw.next() for draw in draws]) * mx.max(sums, axis=-1, keepdims=True)
    return mx.argmax(passed, axis=-1)


def _column(values: Sequence[float]) -> Any:
    return mx.array(np.array(values, dtype=np.float32)[:, None])
