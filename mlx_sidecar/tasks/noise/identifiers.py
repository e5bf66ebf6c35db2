"""UUIDs, digests, tokens in links, base64 in short lines: none is long by itself, and many drown a document."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from mlx_sidecar.tasks.condensed import Cut
from mlx_sidecar.tasks.noise.encoded import ENCODED
from mlx_sidecar.tasks.noise.rule import SYMBOL, Bounds, blocks
from mlx_sidecar.tasks.task import Pause

_TOKEN = re.compile(r"\S{16,}")
# "/" is in base64, and in a link it stands between the parts.
_PIECE = re.compile(r"[A-Za-z0-9+/_-]{16,}={0,2}")
_PART = re.compile(r"[A-Za-z0-9+_-]{16,}={0,2}")
_HEX = re.compile(r"[0-9a-f-]{16,}|[0-9A-F-]{16,}")
_DIGIT, _LETTER, _SMALL, _CAPITAL = (re.compile(each) for each in ("[0-9]", "[A-Za-z]", "[a-z]", "[A-Z]"))
_CHANGE = re.compile(r"[a-z](?=[A-Z0-9])|[A-Z](?=[0-9])|[0-9](?=[A-Za-z])")
_LIKE_A_WORD = re.compile(r"[A-Z]?[a-z]{2,}")
_LINE_BEFORE = re.compile(r"(?:^|\n)([A-Za-z0-9+/_-]{16,})\r?\n$")
_LAST_LINE = re.compile(r"\r?\n[A-Za-z0-9+/]{1,64}={1,2}(?=\s|$)")
_SEPARATORS = str.maketrans("", "", "+/=_-")

_SAMPLE = 256
_WIDEST_GAP = 96
"""Characters between two of them that belong together."""

_LEAST_CHARS, _LEAST_SHARE = 500, 0.3
"""What is passed over: so many characters of them, and so great a share of the stretch that they stand in. The share is
less in `git log`, in code, and in an address book with an account for each."""

_LEAST_HEX_DIGITS, _LEAST_HEX_LETTERS = 0.2, 0.15
"""An account's number has two letters."""

_LEAST_OF_EACH_CASE, _LEAST_CHANGES = 0.12, 0.2
_FEWEST_BETWEEN_UNDERSCORES = 12
"""Characters: names of a program have more underscores than base64 for links has."""

_MOST_LIKE_WORDS, _MOST_LIKE_WORDS_TOGETHER = 0.7, 0.5
"""Of random letters and digits a third looks like syllables, of names such as `getElementById2` nearly all."""


def identifiers(text: str, _: Bounds) -> Iterator[Cut | Pause]:
    """Those that stand close together; the words between them stay."""
    found = list[tuple[int, int]]()
    for block in blocks(text):
        if block[0]:
            yield Pause()
        for start, end in _random(text, *block):
            if found and start - found[-1][1] > _WIDEST_GAP:
                yield from _cuts(text, found)
                found = []
            found.append((start, end))
    yield from _cuts(text, found)


def _random(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Pieces that nobody would say."""
    for token in _TOKEN.finditer(text, start, end):
        pieces = _PART if "://" in token[0] else _PIECE
        yield from (each.span() for each in pieces.finditer(text, *token.span()) if _is_random(each[0][:_SAMPLE]))


def _is_random(piece: str) -> bool:
    signs = piece.translate(_SEPARATORS)
    digits = _share(_DIGIT, signs)
    if _HEX.fullmatch(piece):
        return digits >= _LEAST_HEX_DIGITS and _share(_LETTER, signs) >= _LEAST_HEX_LETTERS
    if piece.count("_") * _FEWEST_BETWEEN_UNDERSCORES > len(piece):
        return False
    is_mixed = min(_share(_SMALL, signs), _share(_CAPITAL, signs)) >= _LEAST_OF_EACH_CASE
    return is_mixed and _share(_CHANGE, signs) >= _LEAST_CHANGES and _like_words(signs) <= _MOST_LIKE_WORDS


def _share(kind: re.Pattern[str], signs: str) -> float:
    return len(kind.findall(signs)) / max(len(signs), 1)


def _like_words(signs: str) -> float:
    return sum(map(len, _LIKE_A_WORD.findall(signs))) / max(len(signs), 1)


def _cuts(text: str, found: Sequence[tuple[int, int]]) -> Iterator[Cut]:
    """All of them, with what stands between two if that says nothing; or none, where they are too few."""
    if not found:
        return
    chars = sum(end - start for start, end in found)
    if chars < _LEAST_CHARS or chars < _LEAST_SHARE * (found[-1][1] - found[0][0]):
        return
    together = "".join(text[start:end] for start, end in found[:64]).translate(_SEPARATORS)
    if _like_words(together) > _MOST_LIKE_WORDS_TOGETHER:
        return
    begin, until = found[0]
    length = until - begin
    while (before := _LINE_BEFORE.search(text, max(0, begin - length - 8), begin)) and len(before[1]) == length:
        begin = before.start(1)
    for start, end in found[1:]:
        between = text[until:start]
        if SYMBOL.search(between) and not _are_lines_of(between, length):
            yield Cut(begin, until, kind=ENCODED)
            begin = start
        until, length = end, end - start
    if last := _LAST_LINE.match(text, until):
        until = last.end()
    yield Cut(begin, until, kind=ENCODED)


def _are_lines_of(between: str, length: int) -> bool:
    """Whether these look less random by chance only: they are written in the same form as what is around them."""
    return all(len(each) == length and _PIECE.fullmatch(each) for each in between.split())
