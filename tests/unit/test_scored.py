"""Evidence at a terminal: which words are shown in colour."""

from __future__ import annotations

import io

import pytest

from mlx_sidecar.protocol.responses import Classified, LabelScore, Quote, SentenceEvidence, Summary, Tags, Timing, Usage
from mlx_sidecar.terminal.endings import show
from mlx_sidecar.terminal.scored import marked_words

USAGE, TIMING = (
    Usage(input_tokens=1, cached_tokens=0, output_tokens=1, chunks=1),
    Timing(queue_s=0.0, prefill_s=0.0, decode_s=0.0, total_s=0.0, tokens_per_s=0.0),
)


def quotes(text: str) -> list[Quote]:
    """One, of all of this."""
    return [Quote(quote=text, start=0, end=len(text))]


def test_words_of_quotes_that_speak_for_a_tag() -> None:
    """In whatever inflection, and the tag itself; without evidence nothing."""
    plain = Tags(tags=["rose pruning", "art"], usage=USAGE, timing=TIMING)
    found = Tags(tags=plain.tags, evidence=[quotes("Roses were pruned at the party."), []], usage=USAGE, timing=TIMING)
    assert marked_words(found) == ["Roses", "art", "pruned", "rose pruning"]
    assert marked_words(plain) == []


@pytest.mark.parametrize("multi", [True, False])
def test_words_of_quotes_that_speak_for_a_label(multi: bool) -> None:
    """For the one, or for each of several."""
    fits = {"labels": ["ferries"]} if multi else {"label": "ferries"}
    scores = [LabelScore(label="ferries", score=1.0)]
    found = Classified(
        **fits, scores=scores, calibrated=False, evidence=[quotes("The ferry sank.")], usage=USAGE, timing=TIMING
    )
    assert marked_words(found) == ["ferries", "ferry"]


def test_words_of_quotes_that_a_summary_s_sentence_shares() -> None:
    """But no stop words."""
    evidence = [SentenceEvidence(sentence="The ferry sank.", sources=quotes("On Monday the old ferry has sunk, sank."))]
    found = Summary(summary="x", evidence=evidence, finish_reason="stop", usage=USAGE, timing=TIMING)
    assert marked_words(found) == ["ferry", "sank"]


class _Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("text", "words", "shown"),
    [
        ("a party for Art, part 1", ["art", "a"], "<a> party for <Art>, part 1"),
        ("東京都の旅館", ["京都", "旅館"], "東<京都>の<旅館>"),
        ("C++ and C", ["C++"], "<C++> and C"),
        ("a rose\npruning", ["rose pruning"], "a <rose\npruning>"),
        ("nothing", [], "nothing"),
    ],
)
def test_whole_words_are_coloured(text: str, words: list[str], shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not parts of others, but in scripts that have no blanks; and none where NO_COLOR asks for none."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr("sys.stdout", screen := _Screen())
    show(text, words)
    assert screen.getvalue().replace("\x1b[1;36m", "<").replace("\x1b[0m", ">") == shown
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr("sys.stdout", screen := _Screen())
    show(text, words)
    assert screen.getvalue() == text
