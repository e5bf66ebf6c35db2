"""Rules of dashes, dotted lines, letters and few signs that come again and again. Words that do are a text."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from mlx_sidecar.control_characters import CONTROLS_BUT_BLANKS
from mlx_sidecar.tasks.condensed import Cut
from mlx_sidecar.tasks.noise.rule import BLANKS, CHARS_AT_ONCE, INVISIBLE, SYMBOL, Bounds, blocks
from mlx_sidecar.tasks.task import Pause
from mlx_sidecar.tasks.words import UNSPACED

_REPEATED = "the same signs again and again"

_WINDOW, _LONGEST_PERIOD = 32, 16
"""A repetition that is twice as long as the window is always found."""

_KEPT_ROUNDS = 3
_SIGN_RUN = re.compile(rf"([^\w\s{INVISIBLE}{CONTROLS_BUT_BLANKS}]|_)\1{{7,}}")
_MARKUP = re.compile(r"<[^<>]*(?:>|$)|^[^<>]*>|&(?:\w{1,16}|#160|#x[aA]0);")
_SAID_WORD = re.compile(rf"\s|[{UNSPACED}].|.[{UNSPACED}]")
_LETTERS, _ROUNDS_OF_LETTERS = 64, 128
"""Characters of the same letter, and of the same few, from which on they are neither a word nor a song."""

_LONGEST_LINE = 256
_TWO_LINES = 2 * _LONGEST_LINE


def repeated_rounds(text: str, bounds: Bounds) -> Iterator[Cut | Pause]:
    """Few characters that come again and again: "- - - -", "&nbsp;&nbsp;", "aaaa"."""
    for found in _repetitions(text, _WINDOW, _LONGEST_PERIOD):
        if isinstance(found, Pause):
            yield found
            continue
        start, end, period = found
        unit = text[start : start + period]
        if end - start > _most_of(unit, bounds):
            stands_alone = not text[start - 1 : start].isalnum() and not text[end : end + 1].isalnum()
            kept = 0 if unit.isalnum() and stands_alone else _KEPT_ROUNDS * period
            yield Cut(start + kept, end, kind=_REPEATED)


def _repetitions(text: str, window: int, longest: int) -> Iterator[tuple[int, int, int] | Pause]:
    """Where something of up to `longest` characters comes again and again, and after how many characters it does."""
    done = 0
    for at in range(0, len(text) - window + 1, window):
        if at and at % CHARS_AT_ONCE == 0:
            yield Pause()
        if at >= done and (period := _period(text[at : at + window], longest)):
            start, done = _run(text, at, period, done)
            yield start, done, period


def _most_of(unit: str, bounds: Bounds) -> float:
    """Up to how many characters this may repeat itself. A word that is said again and again is a text."""
    if not SYMBOL.search(_MARKUP.sub("", unit + unit)):
        return bounds.rounds
    if _SAID_WORD.search(unit):
        return math.inf
    return _LETTERS if len(unit) == 1 else _ROUNDS_OF_LETTERS


def _period(window: str, longest: int) -> int:
    """After how many characters the window repeats itself; 0 where it doesn't, or is blank."""
    period = window.find(window[:longest], 1)
    repeats = 0 < period <= longest and window[period:] == window[:-period]
    return period if repeats and not BLANKS.fullmatch(window) else 0


def _run(text: str, at: int, period: int, least: int) -> tuple[int, int]:
    """How far a repetition goes on around this place."""
    start = at
    while start > least and text[start - 1] == text[start - 1 + period]:
        start -= 1
    rounds = re.compile(f"(?:{re.escape(text[at : at + period])})+").match(text, at)
    end = rounds.end() if rounds else at
    while end < len(text) and text[end] == text[end - period]:
        end += 1
    return start, end


def sign_runs(text: str, bounds: Bounds) -> Iterator[Cut | Pause]:
    """Rules and dotted lines."""
    for start, end in blocks(text):
        if start:
            yield Pause()
        for found in _SIGN_RUN.finditer(text, start, end):
            if len(found[0]) > bounds.signs:
                yield Cut(found.start() + _KEPT_ROUNDS, found.end(), kind=_REPEATED)


def repeated_lines(text: str, _: Bounds) -> Iterator[Cut | Pause]:
    """Longer pieces without a word that come again and again, such as empty cells of a table. The first stay."""
    for found in _repetitions(text, _TWO_LINES, _LONGEST_LINE):
        if isinstance(found, Pause):
            yield found
            continue
        start, end, period = found
        has_words = SYMBOL.search(_MARKUP.sub("", text[start : start + _TWO_LINES]))
        if not has_words and end - start > _TWO_LINES:
            yield Cut(start + _KEPT_ROUNDS * period, end, kind=_REPEATED)
