"""What uuencode, base85 and their like make of bytes: letters, digits and signs without a word among them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from mlx_sidecar.tasks.condensed import Cut
from mlx_sidecar.tasks.noise.encoded import ENCODED
from mlx_sidecar.tasks.noise.rule import Bounds, blocks
from mlx_sidecar.tasks.task import Pause

_LINE, _LEAST_CHARS = re.compile(r"[^\r\n]+"), 40
_LONG_TOKEN = re.compile(r"[!-~]{101,}")
_LAST_LINE = re.compile(r"\r?\n(?:> ?)?([!-~]{1,100})(?=\r?\n|$)")
_LETTERS_IN_A_ROW = re.compile(r"[A-Z]?[a-z]{3,}|[A-Z]{4,}")
_SIGNS = re.compile(r"[!-/:-@\[-`{-~]")
_DIGIT, _CAPITAL, _SMALL = (re.compile(each) for each in ("[0-9]", "[A-Z]", "[a-z]"))

_LEAST_LINES, _SAMPLE = 4, 1024
_LEAST_SHARE_OF_SIGNS, _LEAST_SIGNS = 0.15, 14
"""Characters that are signs, and how many different ones: code and drawings have fewer."""

_MOST_IN_WORDS, _LEAST_DIGITS, _LEAST_OF_EACH_CASE, _MOST_OF_ONE_CHARACTER = 0.25, 0.06, 0.15, 0.1
"""uuencode has no small letters, the others as many as capitals. Regular expressions have few capitals and digits,
and many backslashes or brackets."""


def binary_text(text: str, _: Bounds) -> Iterator[Cut | Pause]:
    """Lines of one length that follow each other, with the shorter one that ends them; and single, long pieces."""
    lines = list[tuple[int, int]]()
    for start, end in blocks(text):
        if start:
            yield Pause()
        for found in _LINE.finditer(text, start, end):
            if len(found[0]) < _LEAST_CHARS or not found[0].isascii():
                continue
            if lines and not _goes_on(text, lines[-1], found.span()):
                yield from _block(text, lines)
                lines = []
            lines.append(found.span())
    yield from _block(text, lines)


def _goes_on(text: str, last: tuple[int, int], line: tuple[int, int]) -> bool:
    """Whether it comes next, as long as the last one, and is quoted alike."""
    is_next = not text[last[1] : line[0]].strip(" \t\r\n>") and text.count("\n", last[1], line[0]) == 1
    return is_next and line[1] - line[0] == last[1] - last[0]


def _block(text: str, lines: list[tuple[int, int]]) -> Iterator[Cut]:
    if len(lines) < _LEAST_LINES:
        for start, end in lines:
            for token in _LONG_TOKEN.finditer(text, start, end):
                if "://" not in token[0] and _looks_binary(token[0][:_SAMPLE]):
                    yield Cut(*token.span(), kind=ENCODED)
        return
    (start, _), (_, end) = lines[0], lines[-1]
    if _looks_binary(text[start : start + _SAMPLE]):
        last = _LAST_LINE.match(text, end)
        if last and len(last[1]) < end - lines[-1][0] and _in_words(last[1]) <= _MOST_IN_WORDS:
            end = last.end()
        yield Cut(start, end, kind=ENCODED)


def _looks_binary(sample: str) -> bool:
    signs, chars = _SIGNS.findall(sample), len(sample)
    digits, capitals, small = (len(kind.findall(sample)) / chars for kind in (_DIGIT, _CAPITAL, _SMALL))
    return (
        len(signs) >= _LEAST_SHARE_OF_SIGNS * chars
        and len(set(signs)) >= _LEAST_SIGNS
        and digits >= _LEAST_DIGITS
        and min(capitals, small or capitals) >= _LEAST_OF_EACH_CASE
        and max(Counter(sample).values()) <= _MOST_OF_ONE_CHARACTER * chars
        and _in_words(sample) <= _MOST_IN_WORDS
    )


def _in_words(sample: str) -> float:
    """The share of characters that may be parts of words."""
    return sum(map(len, _LETTERS_IN_A_ROW.findall(sample))) / len(sample)
