"""Base64, hexadecimal, data URIs: what a program wrote for a program."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mlx_sidecar.tasks.condensed import Cut
from mlx_sidecar.tasks.noise.rule import SYMBOL, Bounds, blocks
from mlx_sidecar.tasks.task import Pause

ENCODED = "encoded data"

_LONG_TOKEN = re.compile(r"\S{16,}")
_DATA = re.compile(r"[A-Za-z0-9+/=_%-]+")
_DATA_URI = re.compile(r"data:[a-z]+/[\w.+-]+[;,][^\s\"<>)\]]{64,}", re.IGNORECASE)
_DATA_TAIL = re.compile(r"\W{1,16}(?:[A-Za-z0-9+/]{2,}={1,2}|[A-Za-z0-9+/]{8,})(?![^\s\"'])")
_AROUND_DATA = "\"'`,;\\"
_LETTERS_ONLY = re.compile(r"[A-Za-z]{48,}")
_NO_WORD_HAS_SO_MANY_LETTERS = re.compile(r"[A-Za-z]{65,}")
_KIND_CHANGES = re.compile(r"[a-z](?=[A-Z0-9])|[A-Z](?=[0-9])|[0-9](?=[A-Za-z])")
_LEAST_DATA, _LEAST_DATA_LINE = 100, 40
"""Characters of encoded data in one piece, and of each of several lines. A digest has 64 and may stand in a text."""

_DATA_SAMPLE = 512
_MANY_DIGITS, _SOME_DIGITS, _MANY_CHANGES = 0.3, 0.03, 0.25
"""Encoded data has the first share of digits, or the second and, for each character, so many changes between small
letters, capitals and digits."""


def encoded_data(text: str, _: Bounds) -> Iterator[Cut | Pause]:
    """Pieces of encoded data, and lines of it that follow each other."""
    lines = list[tuple[int, int]]()
    for start, end in blocks(text):
        if start:
            yield Pause()
        for token in _LONG_TOKEN.finditer(text, start, end):
            if lines and SYMBOL.search(text, lines[-1][1], token.start()):
                yield from _block(text, lines)
                lines = []
            if _is_line_of_data(token[0].strip(_AROUND_DATA)):
                lines.append(token.span())
            else:
                yield from _block(text, lines)
                lines = []
                yield from _pieces(text, *token.span())
    yield from _block(text, lines)


def _block(text: str, lines: list[tuple[int, int]]) -> Iterator[Cut]:
    if lines:
        (start, _), (_, end) = lines[0], lines[-1]
        if len(lines) > 1 and (tail := _DATA_TAIL.match(text, end)):
            end = tail.end()
        if end - start > _LEAST_DATA:
            yield Cut(start, end, kind=ENCODED)


def _pieces(text: str, start: int, end: int) -> Iterator[Cut]:
    """What is encoded within a word."""
    while start < end:
        uri = _DATA_URI.search(text, start, end)
        until = uri.start() if uri else end
        for piece in _DATA.finditer(text, start, until):
            if len(piece[0]) > _LEAST_DATA and _looks_encoded(piece[0]):
                yield Cut(*piece.span(), kind=ENCODED)
        if uri:
            yield Cut(*uri.span(), kind=ENCODED)
        start = uri.end() if uri else end


def _is_line_of_data(token: str) -> bool:
    if len(token) < _LEAST_DATA_LINE or not _DATA.fullmatch(token):
        return False
    return bool(_LETTERS_ONLY.fullmatch(token)) or _looks_encoded(token)


def _looks_encoded(piece: str) -> bool:
    """Whether this is no path, no name and no heading with dashes."""
    sample = piece[:_DATA_SAMPLE]
    digits = sum(map(str.isdigit, sample)) / len(sample)
    changes = len(_KIND_CHANGES.findall(sample)) / len(sample)
    mixed = digits >= _SOME_DIGITS and changes >= _MANY_CHANGES
    return mixed or digits >= _MANY_DIGITS or bool(_NO_WORD_HAS_SO_MANY_LETTERS.search(piece))
