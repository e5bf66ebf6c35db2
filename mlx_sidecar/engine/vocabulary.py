"""What each token stands for in bytes. One table per model, shared by detokenizers and constraints."""

from __future__ import annotations

import json
from functools import cached_property

from mlx_sidecar.engine.tokenizer import Tokenizer
from mlx_sidecar.errors import ModelInvalid

_MOST_TOKENS = 16 * 1024 * 1024
"""No vocabulary has a million yet; a number in a file must not become gigabytes."""


def _byte_level_alphabet() -> dict[int, int | str]:
    """The 256 characters that stand for bytes in byte-level BPE (GPT-2, encoder.py, bytes_to_unicode).

    Other characters of Latin-1 stand for nothing, and become one that isn't in it: else they would pass for bytes.
    """
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    nothing: dict[int, int | str] = {byte: "\uffff" for byte in others if byte >= 0x80}
    return nothing | {byte: byte for byte in printable} | {256 + n: byte for n, byte in enumerate(others)}


class Vocabulary:
    """Bytes of every token of a tokenizer."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        made = tokenizer.backend.decoder
        decoder = json.loads(made.__getstate__()) if made is not None else {}
        steps = [step["type"] for step in decoder.get("decoders", [decoder] if decoder else [])]
        self._byte_level = "ByteLevel" in steps
        self._sentencepiece = "ByteFallback" in steps or "Metaspace" in steps
        self.trims_first_blank = self._byte_level or "Strip" in steps or "Metaspace" in steps
        self.joins_blanks = self._byte_level
        self.has_bytes = self._byte_level or self._sentencepiece
        """Whether the bytes of a token are known; else they are what it says alone, which may differ within a text."""

    def __len__(self) -> int:
        return len(self._table)

    def bytes_of(self, token: int) -> bytes:
        """What a token adds to the text. A token beyond the table is '!' as in mlx_lm (padded vocabularies)."""
        return self._table[token] if token < len(self._table) else b"!"

    @cached_property
    def ids_of(self) -> dict[bytes, tuple[int, ...]]:
        """The tokens that stand for these bytes; several may."""
        tokens: dict[bytes, tuple[int, ...]] = {}
        for token, raw in enumerate(self._table):
            tokens[raw] = (*tokens.get(raw, ()), token)
        return tokens

    @cached_property
    def _table(self) -> list[bytes]:
        tokens = self._tokenizer.backend.get_vocab(with_added_tokens=True)
        size = max(tokens.values(), default=-1) + 1
        if size > _MOST_TOKENS:
            raise ModelInvalid(f"tokenizer.json has a token with the number {size - 1}", {"file": "tokenizer.json"})
        table = [b""] * size
        alphabet = _byte_level_alphabet() if self._byte_level else {}
        for text, token in tokens.items():
            table[token] = self._raw(text, token, alphabet)
        return table

    def _raw(self, text: str, token: int, alphabet: dict[int, int | str]) -> bytes:
        if token in self._tokenizer.added:
            return text.replace("\u2581", " ").encode() if self._sentencepiece else text.encode()
        if self._byte_level:
            try:
                return text.translate(alphabet).encode("latin-1")
            except UnicodeEncodeError:
                bytes_of = ((alphabet.get(ord(sign)), sign) for sign in text)
                return b"".join(bytes([byte]) if isinstance(byte, int) else sign.encode() for byte, sign in bytes_of)
        if self._sentencepiece:
            if len(text) == 6 and text.startswith("<0x") and text.endswith(">"):
                return bytes([int(text[3:5], 16)])
            return text.replace("\u2581", " ").encode()
        return self._tokenizer.decode([token]).encode()
