"""A model's tokens as llguidance takes them: what each says, and how a text is spelled in them.

llguidance may be given a tokenizer.json instead. It then parses that file and builds its table in one call that keeps
Python's lock: 1.35 s of CPU for 151,000 tokens, of which the table is a quarter and the index of common strings
another. Given bytes and a function it makes these two in two calls of 0.35 s each (2026-11-29).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import tokenizers
from llguidance import LLTokenizer, TokenizerWrapper

from mlx_sidecar.engine.panics import BlamedOnTokenizer
from mlx_sidecar.engine.tokenizer import Tokenizer
from mlx_sidecar.engine.vocabulary import Vocabulary

_SPELLING = {"Replace", "ByteLevel"}
"""Normalizers of `tokenizers` that change how a text is spelled in tokens, not which text it is. "Prepend" puts a blank
before a text, and what is spelled here is the middle of one."""

_NO_FIRST_BLANK: dict[str, dict[str, Any]] = {
    "Metaspace": {"prepend_scheme": "never"},
    "ByteLevel": {"add_prefix_space": False},
}
"""The same for what divides a text."""


def table_of(tokenizer: Tokenizer, vocabulary: Vocabulary, size: int, eos_ids: Sequence[int]) -> LLTokenizer:
    """The table alone, with which masks are right and slow. Raises ModelInvalid where the tokenizer breaks down."""
    return LLTokenizer(TokenizerWrapper(_Tokens(tokenizer, vocabulary, size, eos_ids)), size, list(eos_ids), slices=[])


def indexed(table: LLTokenizer) -> LLTokenizer:
    """The same, with an index of the strings that most grammars allow."""
    return table.with_slices(LLTokenizer.general_slices())


class _Tokens:
    """What TokenizerWrapper asks for."""

    bos_token_id = None

    def __init__(self, tokenizer: Tokenizer, vocabulary: Vocabulary, size: int, eos_ids: Sequence[int]) -> None:
        self.eos_token_id = eos_ids[0]
        self.special_token_ids = sorted(tokenizer.marker_ids | tokenizer.special_ids | {*eos_ids})
        known = len(vocabulary)
        # A model may have numbers for more tokens than its tokenizer.
        self.tokens = [vocabulary.bytes_of(token) if token < known else b"" for token in range(size)]
        self._spelling = _spelling(tokenizer)

    def __call__(self, text: bytes) -> list[int]:
        """The tokens of a text, in which nothing is a marker."""
        with BlamedOnTokenizer():
            return list(self._spelling.encode(text.decode(), add_special_tokens=False).ids)


def _spelling(tokenizer: Tokenizer) -> tokenizers.Tokenizer:
    """A tokenizer that spells any text in plain tokens, the names of markers too."""
    with BlamedOnTokenizer():
        return _without_added(tokenizer) or tokenizers.Tokenizer.from_str(_renamed(tokenizer))


def _without_added(tokenizer: Tokenizer) -> tokenizers.Tokenizer | None:
    """The same model, which isn't copied, without its markers; None where it knows them by itself."""
    backend = tokenizer.backend
    made = tokenizers.Tokenizer(backend.model)
    _put(made, _spelling_only(_described(backend.normalizer)), _in_the_middle(_described(backend.pre_tokenizer)))
    plain = {token: added for token, added in tokenizer.added.items() if token not in tokenizer.marker_ids}
    made.add_tokens(list(plain.values()))
    if any(made.token_to_id(added.content) != token for token, added in plain.items()):
        return None
    # One by one: `encode_batch` starts threads, and each remembers words for good.
    names = (tokenizer.added[token].content for token in tokenizer.marker_ids)
    spelled = (made.encode(name, add_special_tokens=False).ids for name in names)
    return None if any(tokenizer.marker_ids & {*ids} for ids in spelled) else made


def _renamed(tokenizer: Tokenizer) -> str:
    described = json.loads(tokenizer.without_markers)
    described["normalizer"] = _spelling_only(described["normalizer"])
    return json.dumps({**described, "pre_tokenizer": _in_the_middle(described["pre_tokenizer"])})


def _described(part: Any) -> dict[str, Any] | None:
    return json.loads(part.__getstate__()) if part is not None else None


def _put(made: tokenizers.Tokenizer, normalizer: dict[str, Any] | None, pre_tokenizer: dict[str, Any] | None) -> None:
    """The library makes these of a description as parts of a tokenizer only."""
    model = {"type": "WordLevel", "vocab": {"x": 0}, "unk_token": "x"}
    parts = json.dumps({"model": model, "normalizer": normalizer, "pre_tokenizer": pre_tokenizer})
    source = tokenizers.Tokenizer.from_str(parts)
    if normalizer is not None:
        made.normalizer = source.normalizer
    if pre_tokenizer is not None:
        made.pre_tokenizer = source.pre_tokenizer


def _in_the_middle(pre_tokenizer: dict[str, Any] | None) -> dict[str, Any] | None:
    """The same without the blank that some put before a text."""
    if pre_tokenizer is None:
        return None
    steps = pre_tokenizer.get("pretokenizers", [pre_tokenizer])
    return {"type": "Sequence", "pretokenizers": [{**step, **_NO_FIRST_BLANK.get(step["type"], {})} for step in steps]}


def _spelling_only(normalizer: dict[str, Any] | None) -> dict[str, Any] | None:
    """What of a normalizer says how tokens spell a text, as for blanks.

    The rest makes another text of it: a choice that isn't in the composed form would be forced in tokens that the
    grammar, which has the choice as it was given, then forbids.
    """
    steps = normalizer.get("normalizers", [normalizer]) if normalizer else []
    kept = [step for step in steps if step["type"] in _SPELLING]
    return {"type": "Sequence", "normalizers": kept} if kept else None
