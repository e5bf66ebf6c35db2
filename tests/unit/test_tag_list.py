"""Lists of tags: what a model may write of one, how it is read, and where it ends."""

from __future__ import annotations

import re
from functools import cache

import pytest

from mlx_sidecar.engine import tokenizer as tokenizers_of
from mlx_sidecar.engine.constraint import GrammarCompiler, GrammarState
from mlx_sidecar.engine.tokenizer import Tokenizer
from mlx_sidecar.engine.vocabulary import Vocabulary
from mlx_sidecar.models import directory
from mlx_sidecar.tasks.tag_list import TagListEnd, TagReader, each_once, tag_list_grammar
from tests.support.models import Shelf

LISTS = [
    "cup, home team, final",
    "Tags: cup, home team, final",
    "tags: cup,home team,final.",
    "cup; home team; final",
    "cup\nhome team\nfinal\n",
    "cup\n\nhome team\n\nfinal",
    "- cup\n- home team\n- final",
    "* cup\n* home team\n* final",
    "1. cup\n2. home team\n3. final",
    "1) cup, 2) home team, 3) final",
    '["cup", "home team", "final"]',
    "'cup', 'home team', 'final'",
    "**cup**, **home team**, **final**",
    "#cup #home team #final",
    "cup | home team | final",
    "„cup“, „home team“, „final“",
]


@pytest.fixture(scope="module")
def tokenizer(shelf: Shelf) -> Tokenizer:
    """A byte-level one: any text can be written with it."""
    return tokenizers_of.load(directory.check(shelf.family("llama", tokenizer="chatml")), frozenset(), {})


@cache
def constraints_of(tokenizer: Tokenizer) -> GrammarCompiler:
    """What all lists of this module share: tokens for grammars, and the latest grammars."""
    size = tokenizer.backend.get_vocab_size()
    return GrammarCompiler(tokenizer, Vocabulary(tokenizer), size, tokenizer.eos_ids)


class Writing:
    """A list that is being written under the constraint."""

    def __init__(self, tokenizer: Tokenizer, max_words: int = 3, vocabulary: tuple[str, ...] = ()) -> None:
        self._tokenizer = tokenizer
        made = constraints_of(tokenizer)
        self._constrained: GrammarState = made.make(tag_list_grammar(max_words, vocabulary))

    def takes(self, text: str) -> bool:
        """Whether the list may go on with this text, token by token."""
        for token in self._tokenizer.encode(text):
            if not self._allows(token):
                return False
            self._constrained.take(token)
        return True

    def may_end(self) -> bool:
        """Whether the end token is allowed."""
        return any(self._allows(token) for token in self._tokenizer.eos_ids)

    def _allows(self, token: int) -> bool:
        return bool(self._constrained.token_mask()[token // 32] >> (token % 32) & 1)


@pytest.mark.parametrize("text", LISTS)
def test_lists_are_taken_and_read_as_models_write_them(tokenizer: Tokenizer, text: str) -> None:
    """Whatever separates, numbers or quotes the tags, they are the same three."""
    writing = Writing(tokenizer)
    assert writing.takes(text)
    assert writing.may_end()
    assert TagReader(3, ()).read(text) == ["cup", "home team", "final"]


@pytest.mark.parametrize(
    "tag", ["C++", "node.js", "@types/node", ".NET", "R&D", "food & drink", "don't", "50%", "3D", "می‌خواهم", "क्‍ष"]
)
def test_names_with_signs_are_tags(tokenizer: Tokenizer, tag: str) -> None:
    """What names are made of may stand in a tag, and comes out as it was written."""
    text = f"x, {tag}, y"
    assert Writing(tokenizer).takes(text)
    assert TagReader(3, ()).read(text) == ["x", tag, "y"]


@pytest.mark.parametrize("max_words", [1, 2, 3, 6])
def test_a_tag_has_at_most_so_many_words(tokenizer: Tokenizer, max_words: int) -> None:
    """The model may write three more, which shows that it isn't writing a tag: it is none."""
    words = " ".join(["word"] * max_words)
    assert Writing(tokenizer, max_words).takes(f"{words}, {words} and so on, x")
    assert not Writing(tokenizer, max_words).takes(f"{words} and so on and")
    assert TagReader(max_words, ()).read(f"{words}, {words} and so on, x") == [words, "x"]


def test_a_script_without_blanks_counts_four_characters_for_a_word(tokenizer: Tokenizer) -> None:
    """So a sentence in Japanese is no tag either."""
    assert Writing(tokenizer, 3).takes("東" * 24 + ", 京都")
    assert TagReader(3, ()).read("東" * 12 + "、" + "東" * 13 + "、京都") == ["東" * 12, "京都"]


def test_a_preferred_tag_may_be_anything(tokenizer: Tokenizer) -> None:
    """Signs that no tag of the model's own has, a comma among them; it is read whole."""
    vocabulary = ("Paris, France", "(draft)", "who: me", "100 @ home", "🦊 fox", "#1")
    text = "Paris, France, 🦊 fox, (draft), who: me, 100 @ home, #1, other"
    assert Writing(tokenizer, 3, vocabulary).takes(text)
    assert TagReader(3, vocabulary).read(text) == [
        *("Paris, France", "🦊 fox", "(draft)", "who: me", "100 @ home", "#1"),
        "other",
    ]


def test_what_is_too_long_is_no_tag() -> None:
    """Neither in characters nor in words; it isn't cut either."""
    long = "internationalization of documentation"
    assert TagReader(3, ()).read(f"{long}, {long}s improved, the home team won, x") == [long, "x"]


def test_a_sentence_is_no_tag() -> None:
    """However few its words; the full stop behind a list is none's."""
    assert TagReader(6, ()).read("cup, The team won. , none, final.") == ["cup", "final"]


def test_of_a_text_without_a_tag_the_beginnings_are_taken() -> None:
    """As many whole words as a tag may have: there is always something."""
    assert TagReader(3, ()).read_beginnings("the home team won the final") == ["the home team"]
    assert TagReader(3, ()).read_beginnings("telecommunications infrastructure administration") == [
        "telecommunications infrastructure"
    ]
    assert TagReader(3, ()).read_beginnings("The cat sat. The dog ran.") == ["The cat sat"]
    assert TagReader(1, ()).read_beginnings("x" * 60) == ["x" * 40]
    assert TagReader(3, ()).read_beginnings("a text in 日本語 and so on") == ["a text in"]
    assert TagReader(2, ()).read_beginnings("東" * 30) == ["東" * 8]


def test_what_stands_after_the_last_separator_of_a_cut_text_is_no_tag() -> None:
    """It may be half a tag."""
    assert TagReader(3, ()).read("cup, home te", is_whole=False) == ["cup"]


def test_each_tag_is_given_once() -> None:
    """The first spelling stays."""
    assert each_once(["Home-Team", "home team", "cup", "CUP"]) == ["Home-Team", "cup"]


def ended_after(text: str, max_tags: int) -> str:
    """What of a text had come when the list was over, fed sign by sign."""
    end = TagListEnd(TagReader(3, ()), max_tags)
    for place, sign in enumerate(text):
        assert end.feed(sign) == sign
        if end.ended:
            return text[: place + 1]
    return text


def test_a_list_with_signs_between_its_tags_ends_too() -> None:
    """Of which the one before and the one after tell that they separate."""
    assert ended_after("#one #two #three #four", 2) == "#one #two #t"
    assert ended_after("one | two | three | four", 2) == "one | two | "


def test_a_list_ends_after_the_last_tag_that_was_asked_for() -> None:
    """As soon as something separates it from the next one; repeats don't count."""
    assert ended_after("a, b, c, d", 2) == "a, b,"
    assert ended_after("a, A, b, c, d", 2) == "a, A, b,"


def test_a_list_that_goes_in_circles_ends() -> None:
    """Two in a row that are there already are enough; one may be a slip."""
    assert ended_after("a, b, a, b, a, b", 9) == "a, b, a, b,"
    assert ended_after("a, a, b, b, c, c", 9) == "a, a, b, b, c, c"


ODD_ENTRIES = [
    *(
        "Mercury (planet)",
        "a:b",
        "@home",
        "50% off",
        'say "hi"',
        "one, two",
        "🦊 fox",
        "🏳️‍🌈",
        ".gitignore",
        "#work",
        "#1",
    ),
    *(
        "C#",
        "-x",
        "* star",
        "1. first",
        "[INST]",
        "{}",
        "</think>",
        "a|b",
        "a / b",
        "back\\slash",
        "sl/ash",
    ),
    *("quo'te", "'quoted'", '"q"', "`code`", "**bold**", "tags: x", "Tags", "…", "?", "a;b", "x、y", "$^.*+?()", "~-&"),
    *("| pipe", "Foo.", "naïve cafe\u0301", "می‌خواهم", "a\u00a0b", "»x«", "שלום", "İ", "#a #b", "日本語（東京）"),
]


@pytest.mark.parametrize("entry", ODD_ENTRIES)
@pytest.mark.parametrize("form", ["{}", "home, {}", "{}, home", "home, {}, cup", "home\n{}\ncup"])
def test_any_entry_of_a_vocabulary_to_prefer_can_be_written(tokenizer: Tokenizer, entry: str, form: str) -> None:
    """The prompt shows it, so the constraint mustn't forbid it; and it comes out as it was given."""
    text, expected = form.replace("{}", entry), [entry if each == "{}" else each for each in re.split(", |\n", form)]
    writing = Writing(tokenizer, 3, (entry,))
    assert writing.takes(text)
    assert writing.may_end()
    assert TagReader(3, (entry,)).read(text) == expected


def test_nothing_hidden_is_in_a_tag() -> None:
    """What looks alike is one tag, and what looks like nothing is none; joiners stay within a word."""
    reader = TagReader(3, [])
    found = reader.read(
        "sea\u200b, \u202esea, se\u00ada, \u3164, \u2800, می\u200cخواهم, ferry \u2066boat\u2069\U000e0041"
    )
    assert each_once(found) == ["sea", "می\u200cخواهم", "ferry boat"]
