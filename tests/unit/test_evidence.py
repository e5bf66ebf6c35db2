"""Evidence: quotes to the letter, at their places, for what stands in a document and for what only fits it."""

from __future__ import annotations

from typing import Any

import pytest

from mlx_sidecar.engine.job import JobResult
from mlx_sidecar.protocol.requests import GenerateTags
from mlx_sidecar.protocol.responses import Quote, Tags
from mlx_sidecar.tasks.condensed import Condensed
from mlx_sidecar.tasks.evidence import Quoter, spans_of, summary_evidence
from mlx_sidecar.tasks.tags import generate_tags
from mlx_sidecar.tasks.task import Generate, Task
from tests.unit.test_tasks import WordModel

DOCUMENT = """The council met on Monday 😀. It voted 7 to 4 against the ferry.

Prices stay as they are
The island's school closes in May; nobody protested."""


def finished(task: Any, *rounds: list[JobResult]) -> Any:
    """What a task returns that is given these results, a list a round."""
    left, results = list(rounds), None
    try:
        while True:
            wish = task.send(results)
            results = left.pop(0) if isinstance(wish, Generate) else None
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
    priors = [JobResult("", "length", 10, 4, 1, 1.0, 1.5, 2.0, scores=(-9.0,) * len(scored[0]))] * 3 if scored else []
    task: Task = generate_tags(GenerateTags(content=DOCUMENT, evidence=True), WordModel(4000), 0.0)
    response: Tags = finished(task, [listed], asked, priors)
    return response


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
