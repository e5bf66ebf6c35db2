"""No object of an answer has a name twice, whatever its schema lets names be and however tokens cut them."""

from __future__ import annotations

import json
from functools import cache
from random import Random
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_sidecar.engine import tokenizer as tokenizers_of
from mlx_sidecar.engine.json_schema.keys import JsonKeys, QuoteTokens
from mlx_sidecar.engine.tokenizer import Tokenizer
from mlx_sidecar.engine.vocabulary import Vocabulary
from mlx_sidecar.models import directory
from tests.support.grammars import Grammars
from tests.support.models import Shelf
from tests.support.walks import walk


class Toy:
    """A vocabulary of these pieces, and of what else a grammar might allow."""

    def __init__(self, pieces: set[bytes]) -> None:
        self.pieces = [*sorted(pieces), b"zz"]
        self.ids_of = {piece: (number,) for number, piece in enumerate(self.pieces)}

    def __len__(self) -> int:
        return len(self.pieces)

    def bytes_of(self, token: int) -> bytes:
        """What a token adds to the text."""
        return self.pieces[token]


Pairs = list[tuple[str, Any]]
NAMES = st.sampled_from(["", "a", "ab", "b", '"', "\\", 'a"', "\\u0061", "é", "\n", ", "])
VALUES = st.recursive(
    st.one_of(NAMES, st.sampled_from([1, None])),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.lists(st.tuples(NAMES, inner), max_size=4).map(tuple)),
    max_leaves=10,
)
"""Values in which a tuple is an object: pairs of names, any of them twice, and values."""


def written(value: Any, at: int, repeats: list[int]) -> str:
    """A value as JSON that begins at this character; `repeats` gets the places where a name ends that came before."""
    if isinstance(value, list):
        text = "["
        for number, each in enumerate(value):
            text += ", " if number else ""
            text += written(each, at + len(text), repeats)
        return text + "]"
    if not isinstance(value, tuple):
        return json.dumps(value, ensure_ascii=False)
    text, names = "{", set[str]()
    for number, (name, each) in enumerate(value):
        text += (", " if number else "") + json.dumps(name, ensure_ascii=False)
        if name in names:
            repeats.append(at + len(text))
        names.add(name)
        text += ": "
        text += written(each, at + len(text), repeats)
    return text + "}"


@settings(max_examples=100, deadline=None)
@given(VALUES, st.integers(0, 10**6))
def test_tokens_that_end_a_name_again_are_taken_out(value: Any, seed: int) -> None:
    """These, of all tokens that the text may go on with, and no others: until the first name that comes again."""
    repeats: list[int] = []
    text = written(value, 0, repeats)
    first = len(text[: min(repeats)].encode()) if repeats else len(text.encode()) + 1
    raw, random = text.encode(), Random(seed)
    toy = Toy({raw[start:end] for start in range(len(raw)) for end in range(start + 1, min(start + 12, len(raw)) + 1)})
    tokens = {piece: token for piece, (token,) in toy.ids_of.items()}
    keys = JsonKeys(QuoteTokens(cast(Vocabulary, toy)))
    every = np.full(len(toy) // 32 + 1, -1, dtype=np.int32)
    at = 0
    while at < min(len(raw), first):
        left = keys.without_repeats(every)
        for end in range(at + 1, min(at + 12, len(raw)) + 1):
            token = tokens[raw[at:end]]
            assert bool(left[token // 32] >> (token % 32) & 1) == (end < first), (raw[:at], raw[at:end])
        end = random.randint(at + 1, min(at + 12, len(raw), max(first - 1, at + 1)))
        keys.take(tokens[raw[at:end]])
        at = end


@pytest.fixture(scope="module", params=["chatml", "gemma", "phi3"])
def tokenizer(shelf: Shelf, request: pytest.FixtureRequest) -> Tokenizer:
    """Byte-level, and with byte fallback."""
    return tokenizers_of.load(directory.check(shelf.family("llama", tokenizer=request.param)), frozenset(), {})


@cache
def grammars_of(tokenizer: Tokenizer) -> Grammars:
    """What all answers of this module share."""
    return Grammars(tokenizer)


class Writing:
    """An answer that is being written."""

    def __init__(self, tokenizer: Tokenizer, schema: dict[str, Any]) -> None:
        self.vocabulary = grammars_of(tokenizer).vocabulary
        self.constrained = grammars_of(tokenizer).make(schema)

    def write(self, text: str) -> Writing:
        """Go on with this text, at each step with the longest token that is allowed."""
        raw = text.encode()
        while raw:
            fitting = [token for token in self._allowed() if raw.startswith(self.vocabulary.bytes_of(token) or b"?")]
            assert fitting, (text, raw)
            longest = max(fitting, key=lambda token: len(self.vocabulary.bytes_of(token)))
            self.constrained.take(longest)
            raw = raw[len(self.vocabulary.bytes_of(longest)) :]
        return self

    def may(self, raw: bytes) -> bool:
        """Whether a token that begins with these bytes is allowed."""
        return any(self.vocabulary.bytes_of(token).startswith(raw) for token in self._allowed())

    def _allowed(self) -> list[int]:
        bits = self.constrained.token_mask()
        return [token for token in range(len(self.vocabulary)) if bits[token // 32] >> (token % 32) & 1]


MAP = {"type": "object", "additionalProperties": {"type": "integer"}}


def test_a_name_that_is_used_may_only_become_another(tokenizer: Tokenizer) -> None:
    """Or the same in another object."""
    writing = Writing(tokenizer, MAP).write('{"a": 1, "a')
    assert (writing.may(b'"'), writing.may(b"b")) == (False, True)
    anything = Writing(tokenizer, {"type": "object", "additionalProperties": True})
    anything.write('{"a": {"a": [{"a": 1}, {"a": 1}], "b')
    assert anything.may(b'"')
    assert not anything.write('": 1}, "a').may(b'"')


def test_a_name_has_one_spelling(tokenizer: Tokenizer) -> None:
    """So neither is the name of a property written with an escape, nor one that is there; in values any may be."""
    writing = Writing(tokenizer, {**MAP, "properties": {"a": {"type": "string"}}})
    assert not writing.write('{"\\').may(b"u")
    writing = Writing(tokenizer, {**MAP, "properties": {"a": {"type": "string"}}})
    assert writing.write('{"a": "\\').may(b"u")
    assert not writing.write('u0001", "\\').may(b"u")


def test_a_name_that_has_no_other_spelling_may_have_escapes(tokenizer: Tokenizer) -> None:
    """JSON knows no other way to write it, and the grammar asks for it."""
    schema = {"type": "object", "properties": {"\x01": {"type": "integer"}}, "required": ["\x01"]}
    assert Writing(tokenizer, schema).write('{"\\u0001": 1').may(b"}")


def test_names_of_a_list_come_to_an_end(tokenizer: Tokenizer) -> None:
    """Nothing follows the last name that there is."""
    for names in ({"propertyNames": {"enum": ["a", "b"]}}, {"patternProperties": {"^(a|b)$": {"type": "integer"}}}):
        writing = Writing(tokenizer, {"type": "object", "additionalProperties": {"type": "integer"}, **names})
        if "patternProperties" in names:
            writing = Writing(tokenizer, {"type": "object", **names})
        assert not writing.write('{"a": 1, "b": 1').may(b",")


@pytest.mark.parametrize("counts", [{}, {"minProperties": 2}, {"maxProperties": 9}], ids=["any", "least", "most"])
@pytest.mark.parametrize("pattern", ["^[ab]$", "^(a|b){1}$", "^[^\\x00-`c-\U0010ffff]$"])
def test_names_of_a_pattern_come_to_an_end(tokenizer: Tokenizer, pattern: str, counts: dict[str, int]) -> None:
    """Where only some names obey it, nothing follows the last of them."""
    schema = {"type": "object", "patternProperties": {pattern: {"type": "integer"}}, **counts}
    assert not Writing(tokenizer, schema).write('{"a": 1, "b": 1').may(b",")


@pytest.mark.parametrize("pattern", ["^name$", "^(name)$", "^[n]am[e]$", "^na"])
def test_a_pattern_that_a_property_obeys_holds_for_it_too(tokenizer: Tokenizer, pattern: str) -> None:
    """And doesn't offer its name a second time."""
    named = {"properties": {"name": {"type": "string"}}, "patternProperties": {pattern: {"maxLength": 2}}}
    writing = Writing(tokenizer, {"type": "object", **named, "additionalProperties": False})
    assert not writing.write('{"name": "ab').may(b"c")
    assert writing.write('"').may(b",") == (pattern == "^na")


def test_a_name_that_could_only_come_again_is_not_begun(tokenizer: Tokenizer) -> None:
    """Where its pattern lets no more letters follow."""
    writing = Writing(tokenizer, {"type": "object", "patternProperties": {"^[a-z]{2}$": {"type": "integer"}}})
    writing.write('{"en": 1, "')
    assert not writing.may(b"en")
    assert (writing.write("e").may(b"n"), writing.may(b"s")) == (False, True)


@pytest.mark.parametrize(
    "names", [{}, {"patternProperties": {"^[ab]{1,3}$": {"type": "integer"}}}], ids=["any", "some"]
)
def test_answers_drawn_at_random_have_no_name_twice(tokenizer: Tokenizer, names: dict[str, Any]) -> None:
    """Objects in objects, too."""
    schema = {"type": "object", "minProperties": 2, "maxProperties": 5, **(names or {"additionalProperties": True})}

    def once(pairs: Pairs) -> Pairs:
        assert len(dict(pairs)) == len(pairs)
        return pairs

    made, whole = grammars_of(tokenizer), 0
    for seed in range(16):
        text = walk(made.make(schema), made.vocabulary, tokenizer.eos_ids, Random(seed), 200)
        if text is not None:
            whole += 1
            json.loads(text, object_pairs_hook=once)
    assert whole > 2
