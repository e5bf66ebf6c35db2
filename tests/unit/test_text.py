"""Tokens to text, and what is taken out on the way."""

from __future__ import annotations

import re

from hypothesis import assume, given
from hypothesis import strategies as st

from mlx_sidecar.engine.text import Reasoning, StopStrings
from mlx_sidecar.engine.tokenizer import ThinkMarks

MARKS = ThinkMarks("<think>", "</think>")
PIECES = st.lists(
    st.sampled_from(["a", "b", "ab", "aab", "<", "<th", "ink>", "</think>", "<think>", "\n"]), max_size=20
)
STOPS = st.lists(st.text("ab<", min_size=1, max_size=4), min_size=1, max_size=3)


@given(pieces=PIECES, stops=STOPS)
def test_the_text_ends_before_the_first_stop_string_to_be_complete(pieces: list[str], stops: list[str]) -> None:
    """However the text is cut into pieces, and also when a stop string spans them."""
    text = "".join(pieces)
    # The one that is complete first; if several are at once, the longest.
    found = [(at + len(stop), at) for stop in stops if (at := text.find(stop)) >= 0]
    each = StopStrings(stops)
    given_text = "".join(each.feed(piece) for piece in pieces) + each.finish()
    assert given_text == (text[: min(found)[1]] if found else text)
    assert each.ended == ("stop" if found else None)


@given(pieces=PIECES)
def test_reasoning_and_answer_come_apart(pieces: list[str]) -> None:
    """No mark is ever given, and how the text comes changes nothing."""
    # Two halves around a mark that is taken out make a mark that was never written.
    assume(not re.search("<th</?think>", "".join(pieces)))
    whole, cut = Reasoning(MARKS, inside=False), Reasoning(MARKS, inside=False)
    text = whole.feed("".join(pieces)) + whole.finish()
    in_pieces = "".join(cut.feed(piece) for piece in pieces) + cut.finish()
    assert (text, whole.reasoning) == (in_pieces, cut.reasoning)
    assert "<think>" not in text


def test_what_was_closed_twice_is_all_reasoning() -> None:
    """Where the prompt closed the reasoning and the model went on."""
    unsure = Reasoning(MARKS, inside=False, unsure=True)
    assert unsure.feed("still thinking</think>\n\nThe answer.") == ""
    assert unsure.finish() == "The answer."
    assert unsure.reasoning == "still thinking"
