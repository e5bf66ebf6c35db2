"""Fits what turns raw scores into probabilities to examples of which it is known what is right.

A curve has two parameters (Platt scaling), of a choice of one label only its
slope says anything (temperature scaling). Small sets of examples tempt a fit to be
too sure of itself, so what is right counts for a little less than one (Platt
1999), and a single tag's threshold moves away from the common one only as far as
there are examples of that tag.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from statistics import fmean, pstdev

from msgspec import Struct

from mlx_sidecar.tasks.calibration import Calibration

BINS = 10
LEAST_EXAMPLES_OF_TAG = 5
"""From so many documents on, a tag gets a threshold of its own."""

_COMMON_WEIGHT = 10
"""The common threshold counts as much as so many documents that have the tag."""

_STEPS = 100
_HALVINGS = 30
_LEAST_SLOPE = 1e-4
_MOST_SLOPE = 100.0
_CLOSE = 1e-9

Points = Sequence[tuple[float, bool]]
"""Scores, and whether what scored so is right."""


class NothingToFit(Exception):
    """Scores that don't tell what is right from what is wrong."""


class Rates(Struct, frozen=True):
    """How good a choice was."""

    precision: float
    recall: float

    @property
    def f1(self) -> float:
        """Their harmonic mean."""
        return 2 * self.precision * self.recall / ((self.precision + self.recall) or 1.0)


def fit_curve(points: Points) -> Calibration:
    """The logistic curve under which what was right is most likely. Raises NothingToFit."""
    right = sum(is_right for _, is_right in points)
    wrong = len(points) - right
    spread = pstdev([score for score, _ in points]) if points else 0.0
    if not right or not wrong or spread < _CLOSE:
        raise NothingToFit(f"{right} right and {wrong} wrong ones, all scores within {spread:.3g} nats")
    middle = fmean(score for score, _ in points)
    high, low = (right + 1) / (right + 2), 1 / (wrong + 2)
    standard = [((score - middle) / spread, high if is_right else low) for score, is_right in points]
    slope, bias = _newton(standard)
    if slope / spread < _LEAST_SLOPE:
        raise NothingToFit("those that are right score no more than the others")
    return Calibration(middle=middle - bias / slope * spread, slope=min(slope / spread, _MOST_SLOPE))


def _newton(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Slope and bias by Newton's method, with steps that are halved until they lead down."""
    slope, bias = 0.0, 0.0
    loss = _loss(points, slope, bias)
    for _ in range(_STEPS):
        g_slope = g_bias = h_slope = h_both = h_bias = 0.0
        for x, target in points:
            p = _sigmoid(slope * x + bias)
            weight = p * (1 - p)
            g_slope, g_bias = g_slope + (p - target) * x, g_bias + p - target
            h_slope, h_both, h_bias = h_slope + weight * x * x, h_both + weight * x, h_bias + weight
        determinant = h_slope * h_bias - h_both * h_both
        if determinant < _CLOSE:
            break
        by_slope = (h_bias * g_slope - h_both * g_bias) / determinant
        by_bias = (h_slope * g_bias - h_both * g_slope) / determinant
        size = 1.0
        while (less := _loss(points, slope - size * by_slope, bias - size * by_bias)) > loss and size > _CLOSE:
            size /= 2
        slope, bias = slope - size * by_slope, bias - size * by_bias
        if loss - less < _CLOSE * len(points):
            break
        loss = less
    return slope, bias


def _loss(points: Sequence[tuple[float, float]], slope: float, bias: float) -> float:
    total = 0.0
    for x, target in points:
        z = slope * x + bias
        # The logarithm of 1 + exp(z), for any z.
        total += max(z, 0.0) + math.log1p(math.exp(-abs(z))) - target * z
    return total


def _sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z)) if z >= 0 else math.exp(z) / (1 + math.exp(z))


def fit_slope(choices: Sequence[tuple[Sequence[float], int]]) -> Calibration:
    """For a choice of one: scores of all labels, and the number of the right one. Raises NothingToFit."""

    def pull(slope: float) -> float:
        """The derivative of the log-likelihood, which falls as the slope grows."""
        curve = Calibration(0.0, slope)
        total = 0.0
        for scores, right in choices:
            expected = sum(p * score for p, score in zip(curve.one_of(scores), scores, strict=True))
            # As if in one more example any label were as right as any other: no fit is a certainty.
            total += scores[right] - expected + (fmean(scores) - expected) / len(choices)
        return total

    low, high = math.log(_LEAST_SLOPE), math.log(_MOST_SLOPE)
    if pull(_LEAST_SLOPE) <= 0:
        raise NothingToFit("the right label scores no more than the others")
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if pull(math.exp(middle)) > 0 else (low, middle)
    return Calibration(middle=0.0, slope=math.exp(low))


def best_threshold(points: Points, missed: int = 0) -> float:
    """From which score on choosing has the best F1; `missed` right ones aren't among the points."""
    ranked = sorted(points, key=lambda point: -point[0])
    right = sum(is_right for _, is_right in ranked) + missed
    best, threshold, hits = -1.0, 0.5, 0
    for number, ((score, is_right), (below, _)) in enumerate(pairwise([*ranked, (0.0, False)]), 1):
        hits += is_right
        f1 = 2 * hits / ((number + right) or 1)
        if score > below and f1 > best:
            best, threshold = f1, (score + below) / 2
    return threshold


def tag_thresholds(scored: Sequence[tuple[str, float, bool]], common: float) -> dict[str, float]:
    """Thresholds of single tags of which there are enough examples, drawn towards the common one."""
    of_tag: dict[str, list[tuple[float, bool]]] = {}
    for tag, score, is_right in scored:
        of_tag.setdefault(tag, []).append((score, is_right))
    found = {}
    for tag, points in of_tag.items():
        right = sum(is_right for _, is_right in points)
        if LEAST_EXAMPLES_OF_TAG <= right < len(points):
            own = best_threshold(points)
            found[tag] = (own * right + common * _COMMON_WEIGHT) / (right + _COMMON_WEIGHT)
    return found


def rates(chosen: Iterable[tuple[int, int, int]]) -> Rates:
    """Over documents, of how many were chosen, how many of these are right, and how many would have been."""
    given = hits = wanted = 0
    for of_document in chosen:
        given, hits, wanted = given + of_document[0], hits + of_document[1], wanted + of_document[2]
    return Rates(hits / (given or 1), hits / (wanted or 1))


def calibration_error(points: Points) -> float:
    """Expected calibration error: by how much probabilities and shares of right ones differ, in bins of equal width."""
    gaps = [0.0] * BINS
    for score, is_right in points:
        gaps[min(int(score * BINS), BINS - 1)] += score - is_right
    return sum(map(abs, gaps)) / (len(points) or 1)
