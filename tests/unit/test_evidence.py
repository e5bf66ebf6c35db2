"""Evidence: quotes to the letter, at their places, for what stands in a document and for what only fits it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from mlx_sidecar.engine.job import Job, JobResult
from mlx_sidecar.protocol.requests import GenerateTags
from mlx_sidecar.protocol.responses import Quote, Tags
from mlx_sidecar.tasks.condensed import Condensed
from mlx_sidecar.tasks.evidence import Quoter, spans_of, summary_evidence, tag_evidence
from mlx_sidecar.tasks.prompts import TagsWanted, tags_question
from mlx_sidecar.tasks.scorer import Scorer
from mlx_sidecar.tasks.tags import generate_tags
from mlx_sidecar.tasks.task import RunJobs, Task
from tests.unit.test_tasks import WordModel

NEEDLE = "needle" * 5
WANTED = TagsWanted()
DOCUMENT = """The council met on Monday 😀. It voted 7 to 4 against the ferry.

Prices stay as they are
The island's school closes in May; nobody protested."""


def finished(task: Any, *rounds: list[JobResult]) -> Any:
    """What a task returns that is given these results, a list a round."""
    left, results = list(rounds), None
    try:
        while True:
            wish = task.send(results)
            results = left.pop(0) if isinstance(wish, RunJobs) else None
    except StopIteration as ended:
        return ended.value


def check(found: list[Quote], document: str = DOCUMENT) -> list[str]:
    """The quotes, each of which stands at its place."""
    units = document.encode("utf-16-le")
    for each in found:
        assert units[2 * each.start : 2 * each.end].decode("utf-16-le") == each.quote
    return [each.quote for each in found]


def tagged(answer: str, *scored: list[float]) -> Tags:
    """Tags with evidence, of a model that answers this, and scores its tags so for each piece of the document."""
    listed = JobResult(answer, "stop", 10, 4, 3, 1.0, 1.5, 2.0)
    asked = [JobResult("", "length", 10, 4, 1, 1.0, 1.5, 2.0, scores=tuple(each)) for each in scored]
    nothing = (-9.0,) * len(scored[0]) if scored else ()
    prior = JobResult("", "length", 10, 4, 1, 1.0, 1.5, 2.0, scores=nothing, first_scores=nothing)
    task: Task = generate_tags(GenerateTags(content=DOCUMENT, evidence=True), WordModel(4000), 0.0)
    response: Tags = finished(task, [listed], [prior] * 3 if scored else asked, asked)
    return response


def scoring(scores: tuple[float, ...]) -> JobResult:
    """The result of a job whose texts, of one token each, score so."""
    return JobResult("", "length", 10, 4, 1, 1.0, 1.5, 2.0, scores=scores, first_scores=scores)


def test_a_document_in_pieces() -> None:
    """Sentences and lines, without the blanks around them."""
    assert [span.text for span in spans_of(Condensed(DOCUMENT))] == [
        "The council met on Monday 😀.",
        "It voted 7 to 4 against the ferry.",
        "Prices stay as they are",
        "The island's school closes in May; nobody protested.",
    ]
    assert [DOCUMENT[span.start : span.end] for span in spans_of(Condensed(DOCUMENT))] == [
        s.text for s in spans_of(Condensed(DOCUMENT))
    ]
    assert spans_of(Condensed("... --- \n\n !")) == []


@pytest.mark.parametrize("text", ["word " * 500, "😀 word " * 300, "x" * 1000, "a, b; " * 200 + ".", "東京" * 500])
def test_very_long_sentences_come_in_pieces(text: str) -> None:
    """Nothing but blanks is lost between them."""
    spans = spans_of(Condensed(text))
    assert all(0 < len(span.text) <= 320 for span in spans)
    assert "".join("".join(span.text.split()) for span in spans) == "".join(text.split())
    check(Quoter(Condensed(text)).quotes(spans), text)


def test_a_tag_whose_words_stand_in_the_document() -> None:
    """The sentences that have them, up to three; the model isn't asked."""
    found = tagged("ferry, school closes")
    assert found.tags == ["ferry", "school closes"]
    assert isinstance(found.evidence, list)
    assert [check(each) for each in found.evidence] == [
        ["It voted 7 to 4 against the ferry."],
        ["The island's school closes in May; nobody protested."],
    ]


def test_a_tag_in_other_words() -> None:
    """The pieces that make it much likelier than no document does."""
    found = tagged("education", [-9.0], [-9.5], [-8.5], [-2.0])
    assert isinstance(found.evidence, list)
    assert [check(each) for each in found.evidence] == [["The island's school closes in May; nobody protested."]]


@pytest.mark.parametrize(
    ("tag", "text", "quotes"),
    [
        ("art", "The party was loud. Modern art hung there.", ["Modern art hung there."]),
        ("internet", "The interest fell. We have no internet here.", ["We have no internet here."]),
        ("state of the art", "The end of the day. It is the art of a state.", ["It is the art of a state."]),
        ("pruning", "Roses were pruned in May. It rains.", ["Roses were pruned in May."]),
        ("rent increase", "An increase in rent. A rent increase. Rent.", ["A rent increase."]),
        ("C++", "C is old. C++ is young.", ["C++ is young."]),
        ("旅館休業", "旅館休業となった。旅館だ。", ["旅館休業となった。"]),
        ("cafe\u0301", "Das Café ist zu. Das Haus nicht.", ["Das Café ist zu."]),
    ],
)
def test_words_speak_for_a_tag_and_parts_of_words_do_not(tag: str, text: str, quotes: list[str]) -> None:
    """In another inflection, too; stop words say nothing; a sentence with the tag as it is goes before others."""
    model = WordModel(4000)
    task = tag_evidence(Condensed(text), [tag], Scorer(model, tags_question(model, WANTED, "x"), [tag]))
    found, results = finished(task)
    assert (check(found[0], text), results) == (quotes, [])


def test_a_sentence_with_most_of_a_tags_words_leaves_room_for_a_better_one() -> None:
    """It may be about something else; the model is asked as well."""
    model = WordModel(4000)
    text = f"We allow tame pets here. No {NEEDLE} comes in. It rains."
    scorer = Scorer(model, tags_question(model, WANTED, "x"), ["ban of tame pets"])

    def answered(jobs: Sequence[Job]) -> list[JobResult]:
        return [scoring((-2.0 if _has(job, NEEDLE) else -9.0,)) for job in jobs]

    ((found,), results) = answering(tag_evidence(Condensed(text), ["ban of tame pets"], scorer), answered)
    assert check(found, text) == ["We allow tame pets here.", f"No {NEEDLE} comes in."]
    assert len(results) == 3


def test_every_sentence_of_a_long_document_has_a_chance() -> None:
    """Of 2,000 the model finds one in the middle, and reads little more than all of them once."""
    text = " ".join(f"Sentence {NEEDLE if n == 1234 else 'hay'} {n}." for n in range(2000))
    model = WordModel(8000)
    scorer = Scorer(model, tags_question(model, WANTED, "x"), ["sewing"])
    asked = list[Job]()

    def answered(jobs: Sequence[Job]) -> list[JobResult]:
        asked.extend(jobs)
        return [scoring((-2.0 if _has(job, NEEDLE) else -9.0,)) for job in jobs]

    ((found,), _) = answering(tag_evidence(Condensed(text), ["sewing"], scorer), answered)
    assert check(found, text) == [f"Sentence {NEEDLE} 1234."]
    assert len(asked) < 200


def answering(task: Any, answer: Callable[[Sequence[Job]], list[JobResult]]) -> Any:
    """What a task returns whose jobs are answered so."""
    results = None
    try:
        while True:
            wish = task.send(results)
            results = answer(wish.jobs) if isinstance(wish, RunJobs) else None
    except StopIteration as ended:
        return ended.value


def _has(job: Job, word: str) -> bool:
    """Whether the document of a job has this word, by its length: the tests' model knows no more of words."""
    return len(word) in list(job.prompt.tokens)


def test_a_tag_that_rests_on_nothing() -> None:
    """Has no quotes."""
    assert tagged("cooking", [-9.0], [-9.5], [-8.5], [-8.9]).evidence == [[]]


def test_a_summary_s_sentences() -> None:
    """Each with the sentences it rests on; one that rests on nothing says so."""
    summary = "The council voted 7 to 4 against the ferry. The school on the island closes. Bananas are yellow."
    found = finished(summary_evidence(Condensed(DOCUMENT), summary))
    assert [each.sentence for each in found] == [
        "The council voted 7 to 4 against the ferry.",
        "The school on the island closes.",
        "Bananas are yellow.",
    ]
    assert check(found[0].sources)[0] == "It voted 7 to 4 against the ferry."
    assert check(found[1].sources) == ["The island's school closes in May; nobody protested."]
    assert found[2].sources == []


def test_a_number_belongs_to_what_it_counts() -> None:
    """The full stop after "no." ends no sentence where a number follows; elsewhere it does."""
    text = "Image no. 17 was withdrawn (see fig. 3). The answer is no. We stay at home."
    assert [span.text for span in spans_of(Condensed(text))] == [
        "Image no. 17 was withdrawn (see fig. 3).",
        "The answer is no.",
        "We stay at home.",
    ]


def test_the_model_looks_for_a_bounded_number_of_labels() -> None:
    """Thousands may fit, of whose words none stands in the document; the others have no evidence."""
    labels, model, asked = [f"label {n}" for n in range(200)], WordModel(4000), set[str]()
    scorer = Scorer(model, tags_question(model, WANTED, "x"), labels)

    def answered(jobs: Sequence[Job]) -> list[JobResult]:
        texts = [job.continuations.texts for job in jobs if job.continuations is not None]
        asked.update(text for of_job in texts for text in of_job)
        return [scoring((-1.0,) * len(of_job)) for of_job in texts]

    found, _ = answering(tag_evidence(Condensed("It rains. It snows."), labels, scorer), answered)
    assert (found, asked) == ([[]] * 200, set(labels[:50]))
