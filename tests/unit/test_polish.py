"""What a model wrote to a summary."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_sidecar.control_characters import CONTROLS, HIDDEN
from mlx_sidecar.engine.job import TextFilter
from mlx_sidecar.tasks.polish import Bullets, NoControls, OneSentence, PreambleFilter, SingleLine, WordLimit

FILTERS: list[Callable[[], TextFilter]] = [
    *(NoControls, PreambleFilter, SingleLine, Bullets),
    *(lambda: WordLimit(5), lambda: WordLimit(1)),
]
WORDS = st.lists(
    st.sampled_from(
        ["Here is a summary: ", "The ", "a", '"', "”", "'", "- ", "* ", "1. ", "end. ", "\n", " ", "word", "? "]
    ),
    max_size=30,
)


def through(make: Callable[[], TextFilter], *pieces: str) -> str:
    """The text that a filter makes of these pieces."""
    each = make()
    return "".join([*(each.feed(piece) for piece in pieces if piece), each.finish()])


@given(pieces=WORDS)
@pytest.mark.parametrize("make", FILTERS)
def test_how_the_text_comes_changes_nothing(make: Callable[[], TextFilter], pieces: list[str]) -> None:
    """A stream ends as the same text as a whole."""
    assert through(make, *pieces) == through(make, "".join(pieces)) == through(make, *"".join(pieces))


@pytest.mark.parametrize(
    "sign", ["\u202e", "\u2066", "\u2069", "\u00ad", "\u200b", "\ufeff", "\x1b", "\U000e0041"], ids=ascii
)
def test_nothing_hidden_is_in_a_summary(sign: str) -> None:
    """What an answer shows is what it says."""
    assert through(NoControls, f"A ri{sign}ver", f"{sign} floods.") == "A river floods."


@pytest.mark.parametrize("sign", ["👨‍👩‍👧", "✈️", "می‌خواهم", "🏴\U000e0067\U000e0062\U000e0065\U000e007f"], ids=ascii)
def test_what_joins_signs_stays_in_a_summary(sign: str) -> None:
    """However it comes."""
    assert through(NoControls, *sign, " is it.") == f"{sign} is it."


@pytest.mark.parametrize(
    ("written", "summary"),
    [
        ("Here is a one-sentence summary of the document:\n\nBees dance.", "Bees dance."),
        ('Sure! Here\'s the summary: "Bees dance."', "Bees dance."),
        ("Summary: Bees dance.", "Bees dance."),
        ("“Bees dance.”\n", "Bees dance."),
        ("Here are the steps: whisk, fold, bake.", "Here are the steps: whisk, fold, bake."),
        ("The plan: walk at dawn.", "The plan: walk at dawn."),
        ('He said "go".', 'He said "go".'),
        ("**Summary:** Bees dance.", "Bees dance."),
        ("# Summary\n\nBees dance.", "Bees dance."),
        ("Based on the document, here is a summary: Bees dance.", "Bees dance."),
        ("Summary of the text: Bees dance.", "Bees dance."),
        ("**Bees** dance.", "**Bees** dance."),
        ('"Go," he said, "and look."', '"Go," he said, "and look."'),
        ('"Bees" and "wasps" dance.', '"Bees" and "wasps" dance.'),
        ('"Bees dance and', "Bees dance and"),
        ("'Bees don't dance.'", "Bees don't dance."),
        ("'Twas night.", "'Twas night."),
        ('"', '"'),
        ("", ""),
    ],
)
def test_a_preamble_and_quotation_marks_go(written: str, summary: str) -> None:
    """And nothing else does."""
    assert through(PreambleFilter, written) == summary


@given(text=st.text(st.characters(max_codepoint=0x2FFF)))
def test_control_characters_go(text: str) -> None:
    """But newline and tab; and what nobody sees. Nothing else goes."""
    kept = through(NoControls, text)
    gone = re.compile(f"[{CONTROLS}{HIDDEN} ]")
    assert [sign for sign in kept if unicodedata.category(sign) == "Cc" and sign not in "\t\n"] == []
    assert [sign for sign in kept if sign != " "] == [sign for sign in text if sign in "\t\n" or not gone.match(sign)]
    assert through(NoControls, "a\x0bb\x00c") == "a bc"


def test_points_become_points() -> None:
    """Whatever a model puts before its points."""
    assert through(Bullets, "* one\n\n2. two\n•  three  \nfour\n-five\n-6 °C\n*so* it\n-\n") == (
        "- one\n- two\n- three\n- four\n- five\n- -6 °C\n- *so* it"
    )


@given(pieces=WORDS, limit=st.integers(1, 12))
def test_the_limit_of_words_holds(pieces: list[str], limit: int) -> None:
    """For any text at all."""
    assert len(through(lambda: WordLimit(limit), *pieces).split()) <= limit


@pytest.mark.parametrize(
    ("limit", "kept"),
    [(3, "One two three."), (6, "One two three."), (7, "One two three. Four five six seven."), (2, "One two…")],
)
def test_whole_sentences_are_kept(limit: int, kept: str) -> None:
    """Only a first sentence that is too long is cut."""
    assert through(lambda: WordLimit(limit), "One two three. Four five six seven.") == kept


@pytest.mark.parametrize(
    ("written", "limit", "kept"),
    [
        ("The talk by Dr. Smith was very long. It ended.", 5, "The talk by Dr. Smith…"),
        ("Use e.g. a hammer for it. Done.", 6, "Use e.g. a hammer for it."),
        ("J. S. Bach wrote it. He was busy.", 5, "J. S. Bach wrote it."),
        ("- One two.\n- three four five six", 4, "- One two."),
        ("- One two.", 1, "One…"),
        ("Really? Yes! So it is.", 2, "Really? Yes!"),
        ("one two. three four", 2, "one two."),
    ],
)
def test_sentences_are_told_from_abbreviations(written: str, limit: int, kept: str) -> None:
    """And what is left out leaves nothing behind."""
    assert through(lambda: WordLimit(limit), written) == kept


def test_half_a_sentence_is_left_out_where_there_is_a_whole_one() -> None:
    """A limit of tokens ended the text."""
    limit = WordLimit(9)
    text = limit.feed("Fine. Half a sen")
    limit.cut_short()
    assert text + limit.finish() == "Fine."
    assert limit.ended == "stop"
    only_half = WordLimit(9)
    only_half.cut_short()
    assert only_half.feed("Half a sen") + only_half.finish() == "Half a sen"
    assert only_half.ended is None


@pytest.mark.parametrize(
    ("written", "limit", "kept"),
    [
        ("The trip has changed, the train has changed, and so on.", 9, "The trip has changed, the train has changed."),
        ("It's not the heater, it's the new pump, and the rest is fine.", 8, "It's not the heater, it's the new pump."),
        ("The contract ends in May and is subject to a yearly renewal.", 7, "The contract ends in May."),
        ("The river rose because it had rained for six days and nights.", 7, "The river rose."),
        (
            "The church (a small one, of stone, near the river) was closed.",
            8,
            "The church (a small one, of stone, near…",
        ),
        ("The list was long (salt, pepper, oil and some more) that day.", 6, "The list was long."),
        ('She said "come, all of you, and sing with us tonight" to them.', 6, 'She said "come, all of you…'),
        (
            "After the storm, which had lasted for days, the town was quiet.",
            10,
            "After the storm, which had lasted for days, the town…",
        ),
        ("They sell salt and pepper and oil and many other good things.", 6, "They sell salt and pepper…"),
        (
            "One, two words and then no clause that ends anywhere near here.",
            10,
            "One, two words and then no clause that ends anywhere…",
        ),
        ("Der Fluss stieg, weil es sechs Tage lang ohne Pause geregnet hatte.", 7, "Der Fluss stieg."),
        ("Le train a changé, mais le concert aura lieu comme prévu ce soir.", 7, "Le train a changé."),
        ("- The pump is broken, so all of the water is gone now.\n- Two.", 8, "- The pump is broken."),
        ("1. Minutes were approved, with one correction of the quote, and more.", 8, "1. Minutes were approved."),
        ("1. Minutes were approved.", 4, "1. Minutes were approved."),
    ],
)
def test_a_first_sentence_that_is_too_long_ends_at_a_clause(written: str, limit: int, kept: str) -> None:
    """At one that can stand alone and says enough; else behind a word, with dots that say so, and none that dangles."""
    text, ended = through(lambda: WordLimit(limit), written), WordLimit(limit)
    assert text == kept
    ended.feed(written)
    ended.finish()
    assert ended.ended == ("stop" if kept == written else "length")


@pytest.mark.parametrize(
    ("written", "summary"),
    [
        ("The text is about a licence of photographs.", "A licence of photographs."),
        ("This document describes how bees dance.", "Bees dance."),
        ("Der Text handelt von einer Brücke.", "Einer Brücke."),
        ("The text is missing from the museum.", "The text is missing from the museum."),
        ("The report by the council is late.", "The report by the council is late."),
    ],
)
def test_a_summary_begins_with_the_matter(written: str, summary: str) -> None:
    """Not with the document, however it comes in pieces."""
    for size in (1, 5, len(written)):
        opening = PreambleFilter()
        pieces = [opening.feed(written[at : at + size]) for at in range(0, len(written), size)]
        assert "".join([*pieces, opening.finish()]) == summary


@pytest.mark.parametrize(
    ("written", "given"),
    [
        ("The ferry leaves at nine. It is late.", "The ferry leaves at nine."),
        ("The ferry leaves at nine", "The ferry leaves at nine"),
        ("The ferry leaves at nine.", "The ferry leaves at nine."),
        ('He said "the ferry leaves." Then', 'He said "the ferry leaves."'),
        ("Hello! The ferry leaves at nine. It", "Hello! The ferry leaves at nine."),
        ("Ferry\n\nIt leaves at nine, not ten.\nMore", "Ferry\n\nIt leaves at nine, not ten."),
        ("Dr. Low and Mr. High leave at 2.30 p.m. today. Then", "Dr. Low and Mr. High leave at 2.30 p.m. today."),
        ("Die Sitzung ist am 12. Oktober. Danach", "Die Sitzung ist am 12. Oktober."),
        ("渡し船は九時に出ます。遅れます。", "渡し船は九時に出ます。"),
        ("", ""),
        ("...", "..."),
    ],
)
def test_one_sentence_is_one(written: str, given: str) -> None:
    """However the text is cut into pieces; headings and greetings don't count."""
    for size in (1, 2, 3, 7, 100):
        shaped = OneSentence()
        text = ""
        for start in range(0, len(written), size):
            text += shaped.feed(written[start : start + size])
            if shaped.ended:
                break
        assert text + shaped.finish() == given
