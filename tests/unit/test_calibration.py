"""Calibration: what is fitted, how it is measured, which files are taken, and what they change."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import pytest
from msgspec import to_builtins

from mlx_sidecar.engine.digests import FileDigests
from mlx_sidecar.engine.job import TaskFile
from mlx_sidecar.errors import ModelInvalid
from mlx_sidecar.library import examples
from mlx_sidecar.library.examples import ExamplesInvalid
from mlx_sidecar.protocol.requests import Classify, GenerateTags
from mlx_sidecar.tasks.calibration import Calibration, Kind, built_in
from mlx_sidecar.tasks.calibration_file import CalibrationFile, check_model, checked
from mlx_sidecar.tasks.classify import classify
from mlx_sidecar.tasks.cross_validation import Scored, evaluate
from mlx_sidecar.tasks.fitting import (
    NothingToFit,
    best_threshold,
    calibration_error,
    fit_curve,
    fit_slope,
    tag_thresholds,
)
from mlx_sidecar.tasks.tags import generate_tags
from mlx_sidecar.tasks.wording import prompt_version
from tests.unit.test_scores import CONTENT, run
from tests.unit.test_tasks import WordModel

MODEL, ADAPTER = "a" * 64, "b" * 64
FILE = Path("mine.json")
SMALL = 135_000_000


def drawn(curve: Calibration, many: int, seed: int = 1) -> list[tuple[float, bool]]:
    """Scores, right as often as this curve says."""
    numbers = random.Random(seed)
    scores = [numbers.uniform(-20, 10) for _ in range(many)]
    return [(score, numbers.random() < curve.each([score])[0]) for score in scores]


def stated(**changes: Any) -> dict[str, Any]:
    """A file's content for the model of the digest above and the words of the tests' model."""
    content = CalibrationFile(
        version=1,
        model_digest=MODEL,
        adapter_digest=None,
        prompt_version=prompt_version(WordModel.task_prompts),
        curves={"vocabulary": Calibration(0.5, 1.0), "label": Calibration(0.0, 2.0)},
        threshold=0.5,
        thresholds={"law": 0.9},
        examples=30,
    )
    return {**to_builtins(content), **changes}


def calibrated_model() -> WordModel:
    """The tests' model, loaded with that file."""
    model = WordModel(4000)
    model.calibration = TaskFile("mine.json", "0" * 64, stated())
    return model


def test_a_curve_is_found_again() -> None:
    """From what it makes of scores."""
    curve = Calibration(middle=-6.0, slope=0.5)
    found = fit_curve(drawn(curve, 5000))
    assert found.middle == pytest.approx(curve.middle, abs=0.3)
    assert found.slope == pytest.approx(curve.slope, rel=0.1)


def test_what_is_told_apart_at_once_is_no_certainty() -> None:
    """Ten examples without a mistake leave a doubt, and numbers stay finite."""
    found = fit_curve([(float(n), n >= 5) for n in range(10)])
    low, high = found.each([0.0, 9.0])
    assert 0.0 < low < 0.2 < 0.8 < high < 0.9999


@pytest.mark.parametrize(
    "points",
    [[], [(1.0, True)] * 9, [(1.0, False)] * 9, [(1.0, True), (1.0, False)], [(1.0, False), (0.0, True)] * 9],
)
def test_there_may_be_nothing_to_fit(points: list[tuple[float, bool]]) -> None:
    """Nothing, all right, all wrong, all alike, or right ones that score less."""
    with pytest.raises(NothingToFit):
        fit_curve(points)


def test_a_slope_for_a_choice_of_one_is_found_again() -> None:
    """Whatever all scores have in common; and a choice that is always right stays finite."""
    numbers, curve = random.Random(3), Calibration(0.0, 0.7)
    choices = []
    for _ in range(1500):
        scores = [numbers.gauss(-5, 3) for _ in range(6)]
        (right,) = numbers.choices(range(6), curve.one_of(scores))
        choices.append((scores, right))
    assert fit_slope(choices).slope == pytest.approx(curve.slope, rel=0.1)
    assert fit_slope([([0.0, 5.0], 1)] * 40).slope < 5
    with pytest.raises(NothingToFit):
        fit_slope([([0.0, 5.0], 0)] * 40)


def test_raw_scores_are_had_again_from_probabilities() -> None:
    """What `calibrate` fits is what the worker computed."""
    for kind in ("tags", "vocabulary", "labels"):
        curve = built_in(kind, SMALL)
        for nats in (-60.0, -7.25, 0.0, 31.5):
            assert curve.nats(curve.each([nats])[0]) == pytest.approx(nats, abs=1e-4)
        assert all(map(math.isfinite, (curve.nats(0.0), curve.nats(1.0))))
    curve = built_in("label", SMALL)
    first, second = map(curve.nats_of_one, curve.one_of([-3.0, -5.5]))
    assert first - second == pytest.approx(2.5)


def test_a_threshold_has_the_best_f1() -> None:
    """Between two scores; what was missed altogether makes more worth taking."""
    points = [(0.9, True), (0.8, True), (0.6, False), (0.4, True), (0.1, False)]
    assert best_threshold(points) == pytest.approx(0.25)
    assert best_threshold([(0.9, True), (0.6, False), (0.4, False)]) == pytest.approx(0.75)
    assert best_threshold([(0.5, True)] * 3 + [(0.5, False)] * 3) == pytest.approx(0.25)


def test_a_tag_has_a_threshold_of_its_own_where_there_are_examples() -> None:
    """Which moves from the common one as far as there are."""
    scored = (
        [("often", 0.2, True)] * 20 + [("often", 0.1, False)] * 20 + [("seldom", 0.9, True), ("seldom", 0.1, False)]
    )
    found = tag_thresholds(scored, common=0.5)
    assert found.keys() == {"often"}
    assert 0.15 < found["often"] < 0.5


def test_calibration_error() -> None:
    """How far probabilities are from shares."""
    assert calibration_error([(0.75, True)] * 3 + [(0.75, False)]) == pytest.approx(0.0)
    assert calibration_error([(1.0, False)] * 4) == pytest.approx(1.0)


def scored_examples(kind: Kind, many: int) -> list[Scored]:
    """Of a model whose scores tell right from wrong, but have another middle than the built-in curve."""
    numbers, found = random.Random(5), list[Scored]()
    names = [f"tag {n}" for n in range(12)]
    for _ in range(many):
        right = frozenset(numbers.sample(names, 1 if kind == "label" else 3))
        nats = {name: numbers.gauss(26 if name in right else 20, 2) for name in names}
        best = sorted(names, key=lambda name: -nats[name])
        found.append(Scored(nats, right, len(right), tuple(best[:1] if kind == "label" else best[:5])))
    return found


@pytest.mark.parametrize("kind", ["tags", "vocabulary", "label", "labels"])
def test_calibrated_scores_are_better_on_documents_that_they_were_not_fitted_to(kind: Kind) -> None:
    """The error falls; where a threshold chooses, so do wrong tags."""
    found = evaluate(kind, scored_examples(kind, 400), SMALL, 5)
    assert found.calibrated.calibration_error < 0.05
    assert found.calibrated.calibration_error <= found.built_in.calibration_error
    assert found.calibrated.rates.f1 >= found.built_in.rates.f1
    assert found.examples == 400


def test_a_file_changes_scores_and_the_choice() -> None:
    """Entries from their threshold on, each its own or the common one; and says so."""
    likely = {"sport": -3.0, "law": -3.5, "art": -4.0}
    options: dict[str, Any] = {"vocabulary": ["law", "sport", "art", "sea"], "vocabulary_mode": "only", "scores": True}
    request = GenerateTags(content=CONTENT, **options)
    plain = run(generate_tags(request, WordModel(4000), 0.0), likely)
    mine = run(generate_tags(request, calibrated_model(), 0.0), likely)
    assert (plain.calibrated, mine.calibrated) == ("default", True)
    # A score of x nats is x + 5, less half of the prior.
    assert mine.scores == pytest.approx(Calibration(0.5, 1.0).each([2.0, 1.0]))
    assert (plain.tags, mine.tags) == (["sport", "law", "art"], ["sport", "art"])
    assert run(generate_tags(request, calibrated_model(), 0.0), {"sea": -12.0}).tags != []


def test_a_file_may_have_some_curves() -> None:
    """What has none keeps the built-in one."""
    request = Classify(content=CONTENT, labels=["law", "sport"])
    one = run(classify(request, calibrated_model(), 0.0), {"law": -9.0})
    assert (one.label, one.calibrated) == ("law", True)
    several = run(classify(Classify(content=CONTENT, labels=["law", "sport"], multi=True), calibrated_model(), 0.0), {})
    assert several.calibrated is False
    free = run(generate_tags(GenerateTags(content=CONTENT, scores=True), calibrated_model(), 0.0), {})
    assert free.calibrated == "default"


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 2},
        {"model_digest": "x"},
        {"curves": {}},
        {"curves": {"words": {"middle": 0.0, "slope": 1.0}}},
        {"curves": {"tags": {"middle": 0.0}}},
        {"curves": {"tags": {"middle": float("nan"), "slope": 1.0}}},
        {"curves": {"tags": {"middle": 0.0, "slope": float("inf")}}},
        {"curves": {"tags": {"middle": 0.0, "slope": -1.0}}},
        {"threshold": 2.0},
        {"threshold": float("nan")},
        {"thresholds": {"law": "much"}},
        {"thresholds": {f"{n}": 0.5 for n in range(10_001)}},
        {"more": 1},
    ],
    ids=str,
)
def test_a_file_is_checked(changes: dict[str, Any]) -> None:
    """As anything that comes from outside."""
    with pytest.raises(ModelInvalid, match="can't be used as a calibration"):
        checked(stated(**changes), FILE)


def test_a_file_is_for_one_model_adapter_and_wording() -> None:
    """And says for which it isn't."""
    prompts = WordModel.task_prompts

    def check(found: FileDigests, words: dict[str, Any] | None = prompts) -> None:
        check_model(TaskFile(str(FILE), "0" * 64, checked(stated(), FILE)), found, words)

    check(FileDigests(MODEL))
    for found, words, reason in (
        (FileDigests(ADAPTER), prompts, "another model"),
        (FileDigests(MODEL, ADAPTER), prompts, "another adapter"),
        (FileDigests(MODEL), {"document": "{content} {instruction}"}, "other words"),
    ):
        with pytest.raises(ModelInvalid, match=reason):
            check(found, words)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("nonsense", "line 31"),
        ('{"content": " ", "tags": ["a"]}', "blank"),
        ('{"content": "x"}', "none of"),
        ('{"content": "x", "label": "a", "labels": ["b"]}', "not both"),
        ('{"content": "x", "label": "a"}', "1 examples have 'label'"),
        ('{"content": "x", "tag": ["a"]}', "line 31"),
    ],
)
def test_examples_are_checked(tmp_path: Path, line: str, problem: str) -> None:
    """Each line, and that there are enough."""
    file = tmp_path / "examples"
    good = '{"content": "x", "tags": ["a"]}\n'
    file.write_text(good * 30 + line + "\n", encoding="utf-8")
    with pytest.raises(ExamplesInvalid, match=problem):
        examples.read(file)
    file.write_text(good * 29, encoding="utf-8")
    with pytest.raises(ExamplesInvalid, match="29 examples have 'tags'"):
        examples.read(file)
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        file.write_text(good * 30 + '{"content": "x", "tags": []}\n', encoding=encoding)
        assert len(examples.read(file)) == 31
    file.write_text('{"content": "x", "tags": []}\n' * 30, encoding="utf-8")
    with pytest.raises(ExamplesInvalid, match="no example has any 'tags'"):
        examples.read(file)


def test_a_fit_that_is_no_better_is_told_and_left_out() -> None:
    """Of scores that the built-in curve describes exactly; and no threshold where the built-in rule chooses better."""
    curve, numbers, found = built_in("vocabulary", SMALL), random.Random(3), list[Scored]()
    for _ in range(30):
        nats = {f"tag {n}": numbers.uniform(-6, 6) for n in range(4)}
        right = frozenset(name for name, score in nats.items() if numbers.random() < curve.each([score])[0])
        found.append(Scored(nats, right, len(right), tuple(right)))
    made = evaluate("vocabulary", found, SMALL, 4)
    assert not made.is_better
    assert made.built_in.rates.f1 == made.calibrated.rates.f1 == 1
    assert (made.fitted.threshold, made.fitted.thresholds) == (None, {})
