"""Candidates for tags: where they come from, and how scores put them in order."""

from __future__ import annotations

import math

import msgspec
import pytest

from mlx_sidecar.engine.job import JobResult
from mlx_sidecar.protocol.requests import GenerateTags
from mlx_sidecar.protocol.responses import Tags
from mlx_sidecar.tasks.candidates import MAX_CANDIDATES, candidates, in_order
from mlx_sidecar.tasks.tag_list import TagReader
from mlx_sidecar.tasks.tags import generate_tags
from tests.unit.test_tasks import WordModel, answer, play

TEXT = "The central bank raised interest rates. Savers of the central bank are happy; Vienna isn't."


def is_tag(text: str) -> bool:
    """As with the usual options."""
    return TagReader(3, ()).is_tag(text)


def test_candidates_are_the_list_and_then_the_documents_phrases() -> None:
    """Of at most two words, none with a stop word, what comes up more often first."""
    found = candidates(TEXT, ["economy", "Central Bank"], is_tag)
    assert found[:4] == ["economy", "Central Bank", "central", "bank"]
    assert set(found[4:]) == {
        *("bank raised", "raised", "raised interest", "interest", "interest rates", "rates"),
        *("savers", "happy", "vienna"),
    }


def test_there_are_never_too_many_candidates() -> None:
    """A long document has more phrases than are worth scoring."""
    assert (
        len(candidates(" ".join(f"word{chr(97 + n % 26)}{n}x" for n in range(500)), ["a", "b"], is_tag))
        == MAX_CANDIDATES
    )


def test_a_phrase_that_is_no_tag_is_no_candidate() -> None:
    """One word where tags have one, none that is too long, none that hides a sentence in another script."""
    single = TagReader(1, ()).is_tag
    assert all(len(tag.split()) == 1 for tag in candidates(TEXT, [], single))
    assert candidates("x" * 48 + " 我们明天见面讨论合同的所有细节问题和预算", [], single) == []


def test_the_likeliest_come_first_and_what_comes_up_often_gains() -> None:
    """A candidate of which another one holds all words isn't given beside it."""
    tags = ["economy", "bank", "central bank", "vienna", "savers"]
    assert in_order(tags, [-1.0, -6.0, -3.0, -5.0, -4.0], TEXT) == ["central bank", "economy", "savers", "vienna"]
    assert in_order(["C++", "C#", "c", "internet", "interview"], [-1.0, -2.0, -3.0, -4.0, -5.0], "x") == [
        *("C++", "C#", "c", "internet", "interview")
    ]
    assert in_order(["a1", "b2"], [-math.inf, -30.0], TEXT) == ["b2"]


@pytest.mark.parametrize(
    ("options", "rounds"),
    [
        ({}, 2),
        ({"examples": [{"content": "x", "tags": ["y"]}]}, 1),
        ({"vocabulary": ["y"]}, 1),
        ({"language": "fr"}, 1),
    ],
    ids=str,
)
def test_only_what_nobody_steers_is_ranked(options: dict[str, object], rounds: int) -> None:
    """Examples and a vocabulary teach a taste, which the model's own list follows."""
    model = WordModel(2000)
    model.task_prompts = None
    request = msgspec.convert({"command": "generate-tags", "content": TEXT, **options}, GenerateTags)
    listed = answer("economy, rates")
    pool = candidates(TEXT, ["economy", "rates"], is_tag)
    scores = tuple(-1.0 if tag == "savers" else -9.0 for tag in pool)
    scored = JobResult("", "length", 10, 4, 1, 1.0, 1.5, 2.0, scores=scores)
    asked, response = play(generate_tags(request, model, 0.0), [listed], [scored])
    assert len(asked) == rounds
    assert isinstance(response, Tags)
    assert response.tags[0] == ("savers" if rounds == 2 else "economy")
