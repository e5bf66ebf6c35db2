"""From scores in nats to probabilities that a reader agrees."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

from mlx_sidecar.tasks.wording import LARGE_PARAMS

Kind = Literal["tags", "vocabulary", "label", "labels"]
"""What is scored: tags that the model made, entries of a vocabulary, labels of which one fits, or any number."""


_LEAST, _LEAST_BELOW_ONE = 1e-300, 2**-53


class Calibration(Struct, frozen=True, forbid_unknown_fields=True):
    """A logistic curve: at `middle` nats the probability is a half, and `slope` says how fast it grows there."""

    middle: float
    slope: float

    def nats(self, probability: float) -> float:
        """The score that has this probability, as far as a probability can tell; never infinite."""
        inside = min(max(probability, _LEAST), 1 - _LEAST_BELOW_ONE)
        return self.middle + math.log(inside / (1 - inside)) / self.slope

    def nats_of_one(self, probability: float) -> float:
        """The same where exactly one is right, but for a number that all scores of a choice have in common."""
        return math.log(max(probability, _LEAST)) / self.slope

    def each(self, scores: Sequence[float]) -> list[float]:
        """The probability of each by itself, 0 to 1."""
        return [_logistic(self.slope * (score - self.middle)) for score in scores]

    def one_of(self, scores: Sequence[float]) -> list[float]:
        """The probability of each if exactly one is right; their sum is 1."""
        best = max(scores)
        weights = [math.exp(self.slope * (score - best)) for score in scores]
        total = sum(weights)
        return [weight / total for weight in weights]


_SMALL: dict[Kind, Calibration] = {
    # 220 tags of English texts that a reader accepts or not; of a vocabulary 50 of Debian's packages with 70 entries.
    "tags": Calibration(middle=-6.42, slope=0.209),
    "vocabulary": Calibration(middle=2.36, slope=0.394),
    "label": Calibration(middle=2.36, slope=0.394),
    "labels": Calibration(middle=2.36, slope=0.394),
}
"""Fitted with SmolLM2-135M-Instruct, but for labels, which are said not to be calibrated: a slope fitted to 40 of
Debian's packages has a calibration error of 0.22 on those that it wasn't fitted to, this one of 0.12 (2026-11-29)."""

_LARGE: dict[Kind, Calibration] = {
    # 120 tags of texts in five languages; 20 packages.
    "tags": Calibration(middle=-7.71, slope=0.184),
    "vocabulary": Calibration(middle=1.54, slope=0.401),
    "label": Calibration(middle=-2.0, slope=0.5),
    "labels": Calibration(middle=-2.0, slope=0.5),
}
"""Fitted with Qwen2.5-Coder-1.5B-Instruct."""


def built_in(kind: Kind, param_count: int) -> Calibration:
    """The one for models of this size."""
    return (_LARGE if param_count >= LARGE_PARAMS else _SMALL)[kind]


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))
