"""The vocabulary in a GGUF file's metadata, checked: texts, kinds, special tokens."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from mlx_sidecar.models.gguf.header import GGUFHeader

_TOKENS = "tokenizer.ggml.tokens"
_KINDS = "tokenizer.ggml.token_type"

# Tokens that the file names. Without those in the first line nobody knows how a prompt begins or an answer ends.
_NEEDED = {"bos": "bos", "eos": "eos", "eot": "eot", "eom": "eom", "unk": "unknown"}
_USEFUL = {"pad": "padding", "fim_pre": "fim_pre", "fim_suf": "fim_suf", "fim_mid": "fim_mid"}
_USEFUL |= {"fim_pad": "fim_pad", "fim_rep": "fim_rep", "fim_sep": "fim_sep"}
_OLD_NAMES = {"fim_pre": "prefix", "fim_suf": "suffix", "fim_mid": "middle"}


class Kind(IntEnum):
    """What a token is, by the numbers that stand in files."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


MATCHED = frozenset({Kind.UNKNOWN, Kind.CONTROL, Kind.USER_DEFINED})
"""Kinds of tokens that are found in a text as a whole, before anything else."""

SPECIAL = frozenset({Kind.UNKNOWN, Kind.CONTROL})
"""Of these, those that are no text."""


@dataclass(frozen=True)
class Tokens:
    """Of one file. `kinds` has those that aren't normal; `named` has bos, eos, eot, eom, unk, pad and fim_…"""

    texts: list[str]
    ids: dict[str, int]
    kinds: dict[int, Kind]
    named: dict[str, int | None]

    def of_kind(self, *kinds: Kind) -> list[int]:
        """The tokens of these kinds, in order."""
        return sorted(token for token, kind in self.kinds.items() if kind in kinds)


def read_tokens(header: GGUFHeader) -> Tokens:
    """Raises ModelInvalid."""
    stored = header.strings(_TOKENS)
    if not stored:
        header.refuse(f"has no tokens ({_TOKENS})")
    # As llama.cpp calls those without a text, so that each has one of its own.
    texts = [text or f"[EMPTY_{token}]" for token, text in enumerate(stored.texts())]
    ids = {text: token for token, text in enumerate(texts)}
    if len(ids) < len(texts):
        twice = next(token for token, text in enumerate(texts) if ids[text] != token)
        header.refuse(f"has a token twice in {_TOKENS}: {texts[twice][:100]!r} is {twice} and {ids[texts[twice]]}")
    return Tokens(texts, ids, _kinds(header, len(texts)), _named(header, len(texts)))


def _kinds(header: GGUFHeader, count: int) -> dict[int, Kind]:
    stated = header.numbers(_KINDS)
    if stated is None:
        return {}
    if stated.typecode not in "bBhHiIqQ":
        header.refuse(f"has a '{_KINDS}' that holds no whole numbers")
    if len(stated) != count:
        header.refuse(f"has {len(stated)} values in {_KINDS} for {count} tokens")
    known = {int(kind): kind for kind in Kind}
    # What isn't known is text to llama.cpp, which only never prints it.
    return {token: known.get(int(kind), Kind.UNUSED) for token, kind in enumerate(stated) if kind != Kind.NORMAL}


def _named(header: GGUFHeader, count: int) -> dict[str, int | None]:
    named: dict[str, int | None] = {}
    for name, stored in {**_NEEDED, **_USEFUL}.items():
        key = f"tokenizer.ggml.{stored}_token_id"
        token = header.integer(key)
        if token is None and name in _OLD_NAMES:
            token = header.integer(f"tokenizer.ggml.{_OLD_NAMES[name]}_token_id")
        if token is not None and not 0 <= token < count:
            if name in _NEEDED:
                header.refuse(f"names the token {token} in {key}, and has {count} tokens")
            # Files of models without padding name one that doesn't exist.
            token = None
        named[name] = token
    return named
