"""Scores of tags and labels: what is asked, and what becomes of the model's numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from msgspec import convert, structs

from mlx_sidecar.engine.job import Job, JobResult
from mlx_sidecar.protocol.requests import Classify, GenerateTags, Label
from mlx_sidecar.protocol.responses import Classified, Tags
from mlx_sidecar.tasks.calibration import Calibration
from mlx_sidecar.tasks.classify import classify
from mlx_sidecar.tasks.prompts import TagsWanted, tags_question
from mlx_sidecar.tasks.scorer import Scorer, score_parts
from mlx_sidecar.tasks.tags import generate_tags
from mlx_sidecar.tasks.task import RunJobs, Task
from tests.unit.test_evidence import answering
from tests.unit.test_tasks import WordModel

LISTED = "ferry, council, island"


def run(task: Task, likely: dict[str, float], prior: float = -10.0) -> Any:
    """The response of a model that lists LISTED and scores texts like this (others -12; without a document `prior`)."""
    results: list[JobResult] | None = None
    try:
        while True:
            wish, results = task.send(results), None
            if isinstance(wish, RunJobs):
                results = [_result(job, likely, prior) for job in wish.jobs]
    except StopIteration as finished:
        return finished.value


def _result(job: Job, likely: dict[str, float], prior: float) -> JobResult:
    if job.continuations is None:
        return JobResult(LISTED, "stop", 10, 4, 3, 1.0, 1.5, 2.0)
    words = [text.strip(" ,") for text in job.continuations.texts]
    # The documents of these tests are longer than those that say nothing.
    is_prior = len(job.prompt) < SHORT
    scores = tuple(prior if is_prior else likely.get(word, -12.0) for word in words)
    return JobResult("", "length", 10, 4, 1, 1.0, 1.5, 2.0, scores=scores, first_scores=scores)


CONTENT = "word " * 200
SHORT = 300
"""Tokens of a prompt without a document: examples and instruction."""


def tags_of(likely: dict[str, float], **options: Any) -> Tags:
    """The answer to this request."""
    request = GenerateTags(content=CONTENT, **options)
    response: Tags = run(generate_tags(request, WordModel(4000), 0.0), likely)
    return response


def labels_of(likely: dict[str, float], labels: list[str | Label], **options: Any) -> Classified:
    """The answer to this request."""
    request = Classify(content=options.pop("content", CONTENT), labels=labels, **options)
    response: Classified = run(classify(request, WordModel(4000), 0.0), likely)
    return response


def test_tags_come_with_scores_the_most_probable_first() -> None:
    """One for each, between 0 and 1."""
    found = tags_of({"council": -1.0, "ferry": -3.0, "island": -9.0}, scores=True)
    assert found.tags == ["council", "ferry", "island"]
    assert isinstance(found.scores, list)
    assert found.scores == sorted(found.scores, reverse=True)
    assert all(0 <= score <= 1 for score in found.scores)
    assert found.calibrated == "default"


def test_min_score_leaves_tags_out() -> None:
    """All of them, if need be."""
    likely = {"council": -1.0, "ferry": -3.0, "island": -9.0}
    scores = tags_of(likely, scores=True).scores
    assert isinstance(scores, list)
    assert tags_of(likely, min_score=scores[1]).tags == ["council", "ferry"]
    assert tags_of(likely, min_score=1.0).tags == []


def test_all_scores_has_every_entry_once() -> None:
    """Chosen or not; a chosen one scores the same in both lists, in either mode."""
    vocabulary = ["sport", "council", "law"]
    for mode in ("prefer", "only"):
        found = tags_of({"council": -1.0}, vocabulary=vocabulary, vocabulary_mode=mode, all_scores=True)
        assert isinstance(found.vocabulary_scores, list)
        assert isinstance(found.scores, list)
        known = {each.tag: each.score for each in found.vocabulary_scores}
        assert sorted(known) == sorted(vocabulary)
        assert next(iter(known)) == "council"
        assert found.scores[found.tags.index("council")] == known["council"]


def test_with_min_score_a_vocabulary_gives_all_that_score_so_much() -> None:
    """Not only those that stand out."""
    likely = {"sport": 5.0, "law": -2.0}
    vocabulary = ["sport", "law", "cooking"]
    assert tags_of(likely, vocabulary=vocabulary, vocabulary_mode="only").tags == ["sport"]
    everything = tags_of(likely, vocabulary=vocabulary, vocabulary_mode="only", min_score=0.0)
    assert everything.tags == ["sport", "law", "cooking"]


def test_without_scores_there_are_none() -> None:
    """Nor anything else that wasn't asked for."""
    found = tags_of({})
    assert (found.scores, found.vocabulary_scores, found.calibrated) == (Tags.__struct_defaults__[0],) * 3


def test_one_label_of_several_has_probabilities_that_sum_to_one() -> None:
    """The first is the label."""
    found = labels_of({"sport": -1.0}, ["law", "sport", "cooking"])
    assert found.label == "sport"
    assert [each.label for each in found.scores] == ["sport", "law", "cooking"]
    assert sum(each.score for each in found.scores) == pytest.approx(1.0)


def test_several_labels_stand_each_by_itself() -> None:
    """Those with enough of a score."""
    found = labels_of({"sport": 9.0, "law": 8.0}, ["law", "sport", "cooking"], multi=True)
    assert found.labels == ["sport", "law"]
    assert len(found.scores) == 3
    assert labels_of({}, ["law", "sport"], multi=True, min_score=1.0).labels == []


def test_words_of_a_description_speak_for_its_label() -> None:
    """Where the model sees no difference."""
    labels: list[str | Label] = [
        "a",
        Label(name="b", description="judges and courts"),
        Label(name="c", description="and"),
    ]
    found = labels_of({}, labels, content="The judges met at the courts and went home. " * 30)
    assert found.label == "b"


def test_calibration_is_a_logistic_curve() -> None:
    """A half in the middle, and no overflow at the ends."""
    calibration = Calibration(middle=-2.0, slope=2.0)
    assert calibration.each([-2.0]) == [0.5]
    assert calibration.each([-1e9, 1e9]) == [0.0, 1.0]
    assert sum(calibration.one_of([-1e9, 0.0, 1.0])) == pytest.approx(1.0)


def test_what_is_known_without_a_document_may_be_let_go_of_meanwhile() -> None:
    """Another request does so where very much is known; this one has its numbers all the same."""
    model = WordModel(4000)
    question = tags_question(model, TagsWanted(), "x")

    def priors(texts: tuple[str, ...], *, forget: bool) -> list[float]:
        task, results = Scorer(model, question, texts).priors(), None
        try:
            while True:
                wish = task.send(results)
                assert isinstance(wish, RunJobs)
                results = [_result(job, {}, -7.0) for job in wish.jobs]
                if forget:
                    model.memo(("priors", question), dict).clear()
        except StopIteration as finished:
            found: list[float] = finished.value
            return found

    assert priors(("a",), forget=False) == [-7.0]
    assert priors(("a", "b"), forget=True) == [-7.0, -7.0]


def scored(texts: tuple[str, ...], answer: Callable[[Job], JobResult]) -> tuple[list[float], list[Job]]:
    """What these texts score on a document, of a model that answers so; and what was asked."""
    model = WordModel(4000)
    scorer = Scorer(model, tags_question(model, TagsWanted(), "x"), texts)
    asked = list[Job]()

    def answers(jobs: Sequence[Job]) -> list[JobResult]:
        asked.extend(jobs)
        return [answer(job) for job in jobs]

    found, _ = answering(score_parts(scorer, [CONTENT]), answers)
    return found, asked


def of_two_tokens(job: Job) -> JobResult:
    """Each text begins with -n/100 nats and ends with -2 of them, without a document with -1 and -4."""
    assert job.continuations is not None
    texts, weights, most = job.continuations.texts, job.continuations.weights, job.continuations.most
    is_prior = len(job.prompt) < SHORT
    first = [-1.0 if is_prior else -int(text.split()[-1]) / 100 for text in texts]
    ranked = sorted(range(len(texts)), key=lambda n: -(first[n] + weights[n]))
    rest = -4.0 if is_prior else -2.0
    scores = [first[n] + (rest if n in ranked[:most] else 0.0) for n in range(len(texts))]
    return JobResult(
        *("", "length", 10, 4, 1, 1.0, 1.5, 2.0),
        scores=tuple(scores),
        first_scores=tuple(first),
        not_computed=frozenset(ranked[most:]),
    )


def test_every_one_of_many_texts_has_a_score_of_its_own() -> None:
    """Also those that weren't computed to their end: they count as others go on. What is asked is bounded."""
    texts = tuple(f"text {n}" for n in range(600))
    found, asked = scored(texts, of_two_tokens)
    # A first token of -n/100 and a rest of -2, less half of -1 and of -4.
    assert found == pytest.approx([0.5 - n / 100 for n in range(600)])
    assert sum(min(len(job.continuations.texts), job.continuations.most) for job in asked if job.continuations) <= 512


def test_a_part_in_which_a_text_was_not_computed_to_its_end_says_nothing_of_it() -> None:
    """Its first token alone would always be more."""
    model = WordModel(4000)
    scorer = Scorer(model, tags_question(model, TagsWanted(), "x"), ("a", "b"))

    def result(scores: tuple[float, ...], first: tuple[float, ...], missing: int | None = None) -> JobResult:
        not_computed = frozenset[int]() if missing is None else frozenset({missing})
        plain = JobResult("", "length", 10, 4, 1, 1.0, 1.5, 2.0)
        return structs.replace(plain, scores=scores, first_scores=first, not_computed=not_computed)

    parts = [result((-5.0, -1.0), (-1.0, -1.0), 1), result((-1.0, -6.0), (-1.0, -1.0), 0)]
    nothing = result((0.0, 0.0), (0.0, 0.0))
    found = answering(scorer.scores(parts, [(0.0, 0.0)] * 2, (0.0, 0.0)), lambda jobs: [nothing] * len(jobs))
    assert found == [-5.0, -6.0]


@pytest.mark.parametrize("mode", ["prefer", "only"])
def test_a_score_is_the_same_however_many_tags_are_wanted(mode: str) -> None:
    """And however long they may be: nothing that the score is computed from says so."""
    asked = list[set[tuple[int, ...]]]()
    for options in (dict[str, Any](), {"max_tags": 17}, {"max_tag_words": 6}):
        fields = {"content": CONTENT, "vocabulary": ["law", "sport"], "vocabulary_mode": mode, "all_scores": True}
        request = convert({**fields, **options}, GenerateTags)
        prompts = set[tuple[int, ...]]()

        def answers(jobs: Sequence[Job], prompts: set[tuple[int, ...]] = prompts) -> list[JobResult]:
            prompts.update(tuple(job.prompt.tokens) for job in jobs if job.continuations is not None)
            return [_result(job, {}, -10.0) for job in jobs]

        answering(generate_tags(request, WordModel(4000), 0.0), answers)
        asked.append(prompts)
    assert asked[0] == asked[1] == asked[2]
