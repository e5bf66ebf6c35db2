"""What a list of tags may go on with: new tags, repeats up to a bound, and its end."""

from __future__ import annotations

import pytest

from mlx_sidecar.engine import folder as folders
from mlx_sidecar.engine import tokenizer as tokenizers_of
from mlx_sidecar.engine.constraint import Constrained, Constraints
from mlx_sidecar.engine.job import TagLines
from mlx_sidecar.engine.tokenizer import Tokenizer
from mlx_sidecar.engine.vocabulary import Vocabulary
from tests.support.models import Shelf


@pytest.fixture(scope="module")
def tokenizer(shelf: Shelf) -> Tokenizer:
    """A byte-level one: any text can be written with it."""
    return tokenizers_of.load(folders.check(shelf.family("llama", tokenizer="chatml")), frozenset(), {})


class Writing:
    """A list that is being written under the constraint."""

    def __init__(self, tokenizer: Tokenizer, tags: TagLines) -> None:
        self._tokenizer = tokenizer
        size = tokenizer.backend.get_vocab_size()
        made = Constraints(tokenizer, Vocabulary(tokenizer), size, tokenizer.eos_ids)
        self._constrained: Constrained = made.make(tags)

    def write(self, text: str) -> Writing:
        """Go on with this text; each of its tokens must be allowed."""
        for token in self._tokenizer.encode(text):
            assert self._allows(token), f"{token} of {text!r}"
            self._constrained.take(token)
        return self

    def may_go_on_with(self, text: str) -> bool:
        """Whether the first token of this text is allowed."""
        return self._allows(self._tokenizer.encode(text)[0])

    def may_end(self) -> bool:
        """Whether the end token is allowed."""
        return any(self._allows(token) for token in self._tokenizer.eos_ids)

    def _allows(self, token: int) -> bool:
        return bool(self._constrained.allowed()[token // 32] >> (token % 32) & 1)

    def next(self) -> tuple[bool, bool, bool]:
        """Whether a letter, the next line and the end may follow."""
        return self.may_go_on_with("s"), self.may_go_on_with("\n"), self.may_end()


def test_a_tag_that_is_there_already_may_end_like_any_other(tokenizer: Tokenizer) -> None:
    """In any spelling; it may as well go on to become another tag."""
    assert Writing(tokenizer, TagLines(5)).write("honey\nHo-ney").next() == (True, True, True)


def test_repeats_leave_their_places_to_new_tags(tokenizer: Tokenizer) -> None:
    """After the last new tag there is no further line; after a repeat there is."""
    writing = Writing(tokenizer, TagLines(2)).write("honey\nhoney")
    assert writing.next() == (True, True, True)
    assert writing.write("\nwax").next() == (True, False, True)


def test_three_repeats_in_a_row_end_the_list(tokenizer: Tokenizer) -> None:
    """A new tag in between starts the count anew."""
    writing = Writing(tokenizer, TagLines(5)).write("honey\nhoney\nhoney\nwax\nhoney\nwax\n")
    assert writing.may_go_on_with("s")
    assert writing.write("honey\n").next() == (False, False, True)


def test_a_list_may_end_where_a_line_would_begin(tokenizer: Tokenizer) -> None:
    """But not before there is a tag, and no line is empty."""
    assert Writing(tokenizer, TagLines(5)).next() == (True, False, False)
    assert Writing(tokenizer, TagLines(5)).write("honey\n").next() == (True, False, True)


def test_in_a_closed_vocabulary_nothing_is_written_twice(tokenizer: Tokenizer) -> None:
    """What can only become a used tag can't be begun; what may become a longer one can."""
    writing = Writing(tokenizer, TagLines(5, ("sea", "seaside", "wax"))).write("sea\nsea")
    assert writing.next() == (True, False, False)
    writing = Writing(tokenizer, TagLines(5, ("sea", "wax"))).write("sea\n")
    assert (writing.may_go_on_with("s"), writing.may_go_on_with("w"), writing.may_end()) == (False, True, True)
