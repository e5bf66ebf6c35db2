"""Vocabularies: what is left to choose from, how tags are spelled, and which of them a model is shown."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_sidecar.engine.alike import fold
from mlx_sidecar.engine.constraint import ClosedVocabulary, VocabularyChoice
from mlx_sidecar.engine.job import LanguageModel
from mlx_sidecar.engine.vocabulary import Vocabulary
from mlx_sidecar.tasks.task import Pause
from mlx_sidecar.tasks.vocabulary import TagVocabulary, tag_vocabulary

TAGS = st.lists(st.text("aAbé -", min_size=1, max_size=5).map(str.strip).filter(fold), min_size=1, max_size=8)
"""Many of them begin alike, or are the same tag in several spellings."""


class Pieces:
    """A vocabulary with a token for every piece of these lines, two for one of a single byte, and some of no use."""

    def __init__(self, lines: Sequence[bytes]) -> None:
        pieces = {line[start:end] for line in lines for end in range(len(line) + 1) for start in range(end)}
        made = enumerate(sorted({*pieces, b"x", b"  ", b"\n", "é".encode()[:1], "é".encode() + b"x"}))
        self.ids_of = {piece: (2 * token, 2 * token + 1)[: 1 + (len(piece) == 1)] for token, piece in made}


class Letters:
    """A model whose tokens are letters."""

    def __init__(self, context_length: int) -> None:
        self.context_length = context_length

    def count(self, text: str) -> int:
        """One token a letter."""
        return len(text)


def lines_of(tag: str) -> tuple[bytes, bytes]:
    """What a line may be that is this tag."""
    return tag.encode(), b" " + tag.encode()


def choice_of(tags: Sequence[str]) -> tuple[VocabularyChoice, dict[bytes, tuple[int, ...]]]:
    """These tags to choose from, and the tokens to write them with."""
    toy = Pieces([line for tag in tags for line in lines_of(tag)])
    return ClosedVocabulary(tags, cast(Vocabulary, toy)).choice(), toy.ids_of


def shown(tags: Sequence[str], content: str, context_length: int) -> tuple[list[str], int]:
    """The tags that a model is shown, and how often the search for them paused."""
    search: Generator[Pause, object, list[str]] = TagVocabulary(tags).shown(
        content, cast(LanguageModel, Letters(context_length))
    )
    pauses = 0
    while True:
        try:
            next(search)
            pauses += 1
        except StopIteration as finished:
            return finished.value, pauses


@given(tags=TAGS, data=st.data())
def test_dead_ends_are_the_tokens_that_lead_to_used_tags_only(tags: list[str], data: st.DataObject) -> None:
    """Of all tokens that go on with a tag: those after which the line can't become one that is left."""
    choice, ids_of = choice_of(tags)
    used = {fold(tag) for tag in data.draw(st.lists(st.sampled_from(tags)))}
    for folded in used:
        choice.take(folded)
    whole = data.draw(st.sampled_from([line for tag in tags for line in lines_of(tag)]))
    begun = whole[: data.draw(st.integers(0, len(whole)))]
    reached = {
        token: {fold(tag) for tag in tags for line in lines_of(tag) if line.startswith(begun + piece)}
        for piece, tokens in ids_of.items()
        for token in tokens
    }
    # What goes on with no tag at all is the grammar's to forbid.
    dead = {token for token in choice.dead_ends(begun) if reached[token]}
    assert dead == {token for token, goals in reached.items() if goals and goals <= used}


def test_a_used_tag_bars_the_way_to_nothing_else() -> None:
    """A longer one may follow the same way, and another vocabulary's tag was never there."""
    choice, ids_of = choice_of(["honey", "Honey", "honeycomb", "wax"])
    choice.take("honey")
    choice.take("bees")
    assert choice.dead_ends(b"") == {
        token for piece, ids in ids_of.items() if piece.strip()[:1] == b"H" for token in ids
    }
    assert choice.dead_ends(b"honey") == set()
    choice.take("honeycomb")
    assert choice.dead_ends(b"honey") == {
        token for piece, ids in ids_of.items() if b"comb".startswith(piece) for token in ids
    }


def test_tags_that_are_the_same_count_once() -> None:
    """However they are spelled."""
    toy = cast(Vocabulary, Pieces([]))
    assert len(ClosedVocabulary(["Bee Hive", "bee-hive", "beehive", "bee", "bee"], toy)) == 2


def test_a_tag_is_spelled_as_the_list_has_it() -> None:
    """Its own spelling if the list has that, else the first; a tag of another list stays as it is."""
    vocabulary = tag_vocabulary(("Bee Hive", "bee-hive", "Wax", "Bee Hive"))
    written = ["Bee Hive", "bee-hive", "BEE_HIVE", "wax", "Honey "]
    assert [vocabulary.spelled(tag) for tag in written] == ["Bee Hive", "bee-hive", "Bee Hive", "Wax", "Honey "]
    assert vocabulary.tags == ("Bee Hive", "bee-hive", "Wax")


@given(tags=TAGS, content=st.text("aAbé -"), context_length=st.integers(0, 400))
def test_tags_of_the_document_are_shown_first(tags: list[str], content: str, context_length: int) -> None:
    """Then the others, each in the list's order, while an eighth of the context holds them with their separators."""
    ordered = sorted(dict.fromkeys(tags), key=lambda tag: fold(tag) not in fold(content))
    held = [count for count in range(len(ordered) + 1) if len("".join(ordered[:count])) + count <= context_length // 8]
    assert shown(tags, content, context_length) == (ordered[: max(held)], 0)


@pytest.mark.parametrize(("length", "most"), [(1, 100), (4, 80), (399, 1), (400, 0)])
def test_never_more_tags_are_shown_than_a_prompt_should_grow_by(length: int, most: int) -> None:
    """100 tags and 400 tokens; and a long list doesn't hold up the loop."""
    tags = [chr(0x4E00 + number).rjust(length, "x") for number in range(600)]
    assert shown(tags, f"{'y' * 50_000}{tags[5]}", 100_000) == (tags[:most], 2)
    assert shown(tags, f"{'y' * 49_000}{tags[5]}", 100_000) == ([tags[5], *tags[:5], *tags[6:]][:most], 2)
