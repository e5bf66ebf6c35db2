"""How the next token is drawn: samplers and the repetition penalty, one per sequence.

Every sequence that isn't greedy draws from a key of its own, made of its seed
and the position, so that its text doesn't depend on who else is in the batch.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

import mlx.core as mx
import mlx_lm.generate
from mlx_lm.sample_utils import apply_min_p, apply_top_k, apply_top_p, make_repetition_penalty

from mlx_sidecar.engine.job import Sampling

Sampler = Callable[[mx.array], mx.array]
LogitsProcessor = Callable[[mx.array, mx.array], mx.array]

_LOSES_COUNT = not hasattr(mlx_lm.generate, "StopSequences")
"""mlx_lm before 0.32 (Python 3.10) mixes up the processors of its rows after one without any has ended."""

_COLDEST = 1e-3
"""Below this temperature the likeliest token is the only one, and dividing by it overflows."""

_PENALTY_CONTEXT_TOKENS = 20
"""How far back the repetition penalty looks; mlx_lm's own default."""


class SeededSampler:
    """Draws with a key per position."""

    def __init__(self, sampling: Sampling) -> None:
        self._sampling, self._position = sampling, 0
        self._seed = sampling.seed if sampling.seed is not None else secrets.randbits(53)

    def __call__(self, logprobs: mx.array) -> mx.array:
        """Take log-probabilities, shape (1, vocabulary); give a token, shape (1,)."""
        key = mx.random.key(_mix(self._seed, self._position))
        self._position += 1
        logprobs = self._filtered(logprobs)
        return mx.random.categorical(logprobs * (1.0 / self._sampling.temperature), key=key)

    def _filtered(self, logprobs: mx.array) -> mx.array:
        """top_p, min_p, top_k, in mlx_lm's order."""
        wanted = self._sampling
        if wanted.top_p < 1:
            logprobs = apply_top_p(logprobs, wanted.top_p)
        if wanted.min_p > 0:
            logprobs = apply_min_p(logprobs, wanted.min_p)
        if 0 < wanted.top_k < logprobs.shape[-1]:
            logprobs = apply_top_k(logprobs, wanted.top_k)
        return logprobs


def _mix(seed: int, position: int) -> int:
    """SplitMix64 (Steele, Lea, Flood 2014): well spread 64-bit numbers from consecutive ones."""
    mask = 2**64 - 1
    z = (seed + (position + 1) * 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return z ^ (z >> 31)


def greedy(logprobs: mx.array) -> mx.array:
    """The likeliest token. One function for all, so that the batch can do its greedy rows at once."""
    return mx.argmax(logprobs, axis=-1)


def make_sampler(sampling: Sampling) -> Sampler:
    """A sequence's sampler."""
    return SeededSampler(sampling) if sampling.temperature >= _COLDEST else greedy


def make_processors(sampling: Sampling) -> list[LogitsProcessor]:
    """What changes a sequence's logits before the constraint does."""
    if sampling.repetition_penalty == 1:
        return [_unchanged] if _LOSES_COUNT else []
    return [make_repetition_penalty(sampling.repetition_penalty, _PENALTY_CONTEXT_TOKENS)]


def _unchanged(_: mx.array, logits: mx.array) -> mx.array:
    return logits
