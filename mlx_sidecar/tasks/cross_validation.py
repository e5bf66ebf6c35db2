"""How good calibrated scores are on examples that they weren't fitted to, beside the built-in way."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from mlx_sidecar.tasks.calibration import Calibration, Kind, built_in
from mlx_sidecar.tasks.closed_tags import over_threshold
from mlx_sidecar.tasks.fitting import (
    Rates,
    best_threshold,
    calibration_error,
    fit_curve,
    fit_slope,
    rates,
    tag_thresholds,
)

FOLDS = 5
_LABELS_THRESHOLD = 0.5


class Scored(Struct, frozen=True):
    """One example: what everything scored in nats, what of it is right, and what the worker answers by itself.

    `wanted` counts what would be right, also what has no score.
    """

    nats: dict[str, float]
    right: frozenset[str]
    wanted: int
    answer: tuple[str, ...]


class Fitted(Struct, frozen=True):
    """What was fitted to some examples."""

    curve: Calibration
    threshold: float | None = None
    thresholds: dict[str, float] = {}


class Quality(Struct, frozen=True):
    """How good answers and probabilities are."""

    rates: Rates
    calibration_error: float


class Evaluation(Struct, frozen=True):
    """Of one kind of scores: built in, and fitted to other examples than it is measured on; then fitted to all."""

    kind: Kind
    examples: int
    built_in: Quality
    calibrated: Quality
    fitted: Fitted
    """Without thresholds where the built-in rule chooses better."""

    @property
    def is_better(self) -> bool:
        """Whether probabilities come nearer to the truth with what was fitted."""
        return self.calibrated.calibration_error < self.built_in.calibration_error


def evaluate(kind: Kind, examples: Sequence[Scored], param_count: int, max_tags: int) -> Evaluation:
    """Fit and measure. Raises NothingToFit."""
    plain = built_in(kind, param_count)
    before = _measured(
        [(_probabilities(kind, plain, each), each, each.answer) for each in examples],
        kind,
    )
    common = _held_out(kind, examples, max_tags, own_thresholds=False)
    calibrated, fitted = common, fit(kind, examples, max_tags, own_thresholds=False)
    if kind == "vocabulary":
        own = _held_out(kind, examples, max_tags, own_thresholds=True)
        if own.rates.f1 >= common.rates.f1:
            calibrated, fitted = own, fit(kind, examples, max_tags, own_thresholds=True)
        if calibrated.rates.f1 < before.rates.f1:
            calibrated, fitted = Quality(before.rates, calibrated.calibration_error), Fitted(fitted.curve)
    return Evaluation(kind, len(examples), before, calibrated, fitted)


def fit(kind: Kind, examples: Sequence[Scored], max_tags: int, *, own_thresholds: bool) -> Fitted:
    """To all of these."""
    if kind == "label":
        choices = [(list(each.nats.values()), list(each.nats).index(next(iter(each.right)))) for each in examples]
        return Fitted(fit_slope(choices))
    curve = fit_curve([(nats, name in each.right) for each in examples for name, nats in each.nats.items()])
    if kind == "labels":
        return Fitted(curve, _LABELS_THRESHOLD)
    every = [(_probabilities(kind, curve, each), each) for each in examples]
    best = [(sorted(scores, key=lambda tag: -scores[tag])[:max_tags], scores, each) for scores, each in every]
    points = [(scores[tag], tag in each.right) for tags, scores, each in best for tag in tags]
    missed = sum(each.wanted - len(each.right.intersection(tags)) for tags, _, each in best)
    common = best_threshold(points, missed)
    if not own_thresholds:
        return Fitted(curve, common)
    scored = [(tag, score, tag in each.right) for scores, each in every for tag, score in scores.items()]
    return Fitted(curve, common, tag_thresholds(scored, common))


def _held_out(kind: Kind, examples: Sequence[Scored], max_tags: int, *, own_thresholds: bool) -> Quality:
    answers = list[tuple[dict[str, float], Scored, Sequence[str]]]()
    for fold in range(FOLDS):
        known = [each for number, each in enumerate(examples) if number % FOLDS != fold]
        fitted = fit(kind, known, max_tags, own_thresholds=own_thresholds)
        for each in examples[fold::FOLDS]:
            scores = _probabilities(kind, fitted.curve, each)
            answers.append((scores, each, _chosen(kind, scores, fitted, max_tags)))
    return _measured(answers, kind)


def _probabilities(kind: Kind, curve: Calibration, example: Scored) -> dict[str, float]:
    nats = list(example.nats.values())
    return dict(zip(example.nats, curve.one_of(nats) if kind == "label" else curve.each(nats), strict=True))


def _chosen(kind: Kind, scores: dict[str, float], fitted: Fitted, max_tags: int) -> list[str]:
    """What is answered: as the worker chooses, but of a model's own tags those over the threshold."""
    if kind == "label":
        return [max(scores, key=lambda name: scores[name])]
    assert fitted.threshold is not None
    if kind == "vocabulary":
        return over_threshold(scores, fitted.threshold, fitted.thresholds)[:max_tags]
    return [name for name, score in scores.items() if score >= fitted.threshold]


def _measured(answers: Sequence[tuple[dict[str, float], Scored, Sequence[str]]], kind: Kind) -> Quality:
    chosen = ((len(names), len(each.right.intersection(names)), each.wanted) for _, each, names in answers)
    if kind == "label":
        points = [(scores[names[0]], names[0] in each.right) for scores, each, names in answers]
    else:
        points = [(score, name in each.right) for scores, each, _ in answers for name, score in scores.items()]
    return Quality(rates(chosen), calibration_error(points))
