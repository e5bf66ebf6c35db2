"""A model that says the same thing again and again."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_sidecar.tasks import repetition
from mlx_sidecar.tasks.repetition import NoRepetition

PIECES = st.lists(
    st.sampled_from(
        [
            *(
                "Bees ",
                "bees ",
                "dance ",
                "and ",
                "the ",
                "Wax",
                "wax ",
                "a ",
                "very ",
                "2",
                "1. ",
                "Bees dance. ",
                "\n- ",
            ),
            *(
                ". ",
                ", ",
                "; ",
                "! ",
                "“",
                "” ",
                " ",
                "蜂",
                "踊",
                "る",
                "。",
                "、",
                "…",
                "e.g. ",
                "🐝",
                "é",
                "e\u0301",
                "don't ",
            ),
            *("Bees like the wax and the sun", "in the warm light of a day, ", "The cat saw the dog. "),
        ]
    ),
    max_size=60,
)
NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def through(*pieces: str, cut: bool = False) -> tuple[str, str | None]:
    """The text that comes of these pieces, and what the filter says of its end."""
    each = NoRepetition()
    given = [each.feed(piece) for piece in pieces]
    if cut:
        each.cut_short()
    return "".join([*given, each.finish()]), each.ended


def spelled(number: int) -> str:
    """A number as words, a digit each."""
    return " ".join(NUMBERS[int(digit)] for digit in str(number))


@given(pieces=PIECES, cut=st.booleans())
def test_how_the_text_comes_changes_nothing(pieces: list[str], cut: bool) -> None:
    """A stream ends as the same text as a whole."""
    whole = "".join(pieces)
    assert through(*pieces, cut=cut) == through(whole, cut=cut) == through(*whole, cut=cut)


@given(pieces=PIECES, cut=st.booleans())
def test_no_sentence_comes_twice(pieces: list[str], cut: bool) -> None:
    """Whatever its case and punctuation. A lone word with a full stop may be an abbreviation."""
    text, _ = through(*pieces, cut=cut)
    keys = [" ".join(re.findall(r"\w+|🐝", each.casefold())) for each in re.split(r"[.!?…]\s+(?=[^\sa-z])|。|\n", text)]
    told = [key for key in keys if len(key.split()) > 1 and "1" not in key and "2" not in key and "e g" not in key]
    assert len(told) == len(set(told))


@given(pieces=PIECES)
def test_what_is_given_is_of_the_text(pieces: list[str]) -> None:
    """Its words in order, some of them left out."""
    text, whole = through(*pieces)[0], iter("".join(pieces))
    assert all(sign in whole for sign in text)


@given(pieces=PIECES, more=st.text(max_size=9))
def test_nothing_is_given_after_the_end(pieces: list[str], more: str) -> None:
    """Neither by a piece nor by the finish."""
    each = NoRepetition()
    for piece in pieces:
        each.feed(piece)
        if each.ended:
            assert each.feed(more) + each.finish() == ""


@settings(max_examples=30, deadline=None)
@given(count=st.integers(0, 120), size=st.integers(1, 40))
def test_a_text_without_repetition_stays_as_it_is(count: int, size: int) -> None:
    """Also where its sentences begin and end alike."""
    text = " ".join(f"The bees of hive {spelled(n)}, which dance in the sun, like the wax." for n in range(count)) + " "
    assert through(*(text[at : at + size] for at in range(0, len(text), size))) == (text, None)


@pytest.mark.parametrize(
    "text",
    [
        "The shop is open from Monday to Tuesday and from Tuesday to Friday, and from Friday to Monday.",
        "It is a very, very, very good year. New York, New York, is a song.",
        "Government of the people, by the people, for the people. Day by day by day it grew.",
        "The scores were 1, 0, 1, 0, 1, 0 and 10, 10, 10, 10, 9.",
        "It is what it is, it is what it is. Row, row, row your boat.",
        "Col. Mustard did it. Col. Mustard left. See e.g. Smith et al. See e.g. Jones et al.",
        "It costs 5 €. It costs 5 $. It is C. It is C#. It is C++.",
        "Bees dance in the sun. Bees dance in the sun and rest. Bees dance",
        "They agreed, says a report of the local newspaper. Others did not, says a report of the local newspaper.",
        "ドキドキする。ははは。ぐるぐるぐる回る。山も川も海も見た。",
        "मैं घर जाता हूँ। वह घर जाती है।",
        "- one\n- two\n- three: a, b\n\n1. Bees dance. 2. Wax melts.\n  ",
    ],
)
def test_figures_of_speech_are_no_repetition(text: str) -> None:
    """Parallels, refrains, tables of numbers."""
    assert through(*text) == (text, None)


@pytest.mark.parametrize(
    ("written", "kept", "ended"),
    [
        ("Bees dance. Wax melts. Bees dance! Sun.", "Bees dance. Wax melts. Sun.", None),
        ("Bees dance. “bees  DANCE”", "Bees dance.", None),
        ("Bees dance. Bees dance. Bees dance. Wax.", "Bees dance.", "stop"),
        ("Bees dance. Wax melts. Bees dance. Wax melts. Sun.", "Bees dance. Wax melts.", "stop"),
        ("Bees. Bees dance. Wax. Bees dance. Sun.", "Bees. Bees dance. Wax. Bees dance. Sun.", None),
        ("1. Bees dance. 2. Bees dance. 3. Bees dance.", "1. Bees dance.", "stop"),
        ("- Wax\n- Sun\n- Wax\n- Bees\n- Wax\n- Wax\n- Day", "- Wax\n- Sun\n- Bees", "stop"),
        ("- Bees dance. Wax melts.\n- Bees dance. Sun.", "- Bees dance. Wax melts.\n- Sun.", None),
        ("蜂は踊る。蜂は踊る。蜂は飛ぶ。", "蜂は踊る。蜂は飛ぶ。", None),
        ("蜜蜂跳舞。蜜蜂跳舞。蜜蜂跳舞。", "蜜蜂跳舞。", "stop"),
    ],
)
def test_a_sentence_that_was_there_is_dropped(written: str, kept: str, ended: str | None) -> None:
    """Two in a row end the text; a dropped point takes its line with it, a dropped sentence doesn't."""
    assert through(*written) == (kept, ended)


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("Fine. " + "The cat and the dog and " * 9, "Fine. The cat and the dog"),
        ("It was " + "very " * 99, "It was very"),
        ("the " * 99, "the"),
        ("Wax melts. " + "And " * 99, "Wax melts."),
        ("alpha beta gamma delta " * 9, "alpha beta gamma delta"),
        ("bees dance. " * 9, "bees dance."),
        ("0.0 " * 99, "0"),
        ("So it is" + "." * 99, "So it is."),
        ("🐝" * 99, "🐝"),
        (
            "It has a fee for the use of a copy, and a fee for the use of a copy, x",
            "It has a fee for the use of a copy",
        ),
        (
            "Use of a copy, a fee for use of a copy, " + "a fee for use of a copy, " * 9,
            "Use of a copy, a fee for use of a copy",
        ),
        ("猫と犬と" * 9, "猫と犬"),
        ("แมวและหมาและ" * 9, "แมวและหมาและ"),
        ("蜂は太陽の下で踊っています、" * 9, "蜂は太陽の下で踊っています"),
        ("ha" * 999, "ha" * 32),
    ],
)
def test_a_text_that_goes_in_circles_ends(written: str, kept: str) -> None:
    """Before the second round, and not in a word that wants another."""
    assert through(*written) == (kept, "stop")


def test_a_sentence_may_end_with_a_clause_that_it_had() -> None:
    """The clause is dropped, and the text goes on."""
    written = "There is a fee for the use of a copy, and a fee for the use of a copy. Wax melts."
    assert through(*written) == ("There is a fee for the use of a copy. Wax melts.", None)


def test_what_may_be_a_repetition_is_held_back() -> None:
    """All else is given as soon as its word is whole."""
    each = NoRepetition()
    pieces = ["Bees dance", " in the sun.", " Bees dance in", " the day", ". "]
    given = ["Bees", " dance in the sun", ".", "", " Bees dance in the day"]
    assert [each.feed(piece) for piece in pieces] == given
    assert each.finish() == ". "


@pytest.mark.parametrize(
    ("written", "kept", "ended"),
    [
        ("Bees dance in the sun. Bees dance in the s", "Bees dance in the sun.", "stop"),
        ("Bees dance in the sun. Bees da", "Bees dance in the sun. Bees da", None),
        ("Bees dance. Bees dance", "Bees dance.", None),
    ],
)
def test_the_best_part_of_a_repeated_sentence_is_dropped(written: str, kept: str, ended: str | None) -> None:
    """Where a limit of tokens cuts it: the text before it is whole."""
    assert through(written, cut=True) == (kept, ended)


def test_the_work_grows_with_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """A text ten times as long is ten times the work, sign by sign as well."""

    class Counting:
        def __init__(self, pattern: re.Pattern[str]) -> None:
            self.pattern, self.signs = pattern, 0

        def finditer(self, text: str, start: int) -> Sequence[Any]:
            self.signs += len(text) - start
            return list(self.pattern.finditer(text, start))

    def signs(text: str) -> int:
        counting = Counting(re.compile(repetition._WORD.pattern))
        monkeypatch.setattr(repetition, "_WORD", counting)
        assert through(*text) == (text, None)
        return counting.signs

    one_sentence = "".join(f"hive {n}, " for n in range(2000)) + "end"
    for text in (one_sentence, one_sentence.replace(", ", ". Hive ")):
        monkeypatch.undo()
        assert signs(text) < 12 * len(text)
