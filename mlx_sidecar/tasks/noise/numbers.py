"""Tables of numbers, and of signs, without a word among them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mlx_sidecar.tasks.condensed import Cut
from mlx_sidecar.tasks.noise.rule import SYMBOL, WORD, Bounds, blocks
from mlx_sidecar.tasks.task import Pause

_NUMBERS, _SIGNS = "numbers without words", "signs without words"

_TOKEN = re.compile(r"\S+")
_DIGIT = re.compile(r"\d")
_LETTER = re.compile(r"[^\W\d_]")
_LIKE_A_NUMBER = re.compile(
    r"\W*(?:nan|n/?a|null|none|nil|inf|true|false|\d[\d.,]*e[+-]?\d+|0x[0-9a-f]+|(?:\\x)?[0-9a-f]*\d[0-9a-f]*|[0-9a-f]{2}|[a-f]{4})\W*",
    re.IGNORECASE,
)
"""What stands among numbers: no value, an exponent, hexadecimal digits."""

_UNITS = (
    *(
        "kg",
        "mg",
        "µg",
        "lb",
        "lbs",
        "oz",
        "km",
        "dm",
        "cm",
        "mm",
        "µm",
        "nm",
        "ft",
        "mi",
        "yd",
        "ha",
        "ml",
        "cl",
        "dl",
    ),
    *("ms", "µs", "ns", "sec", "min", "hr", "hrs", "am", "pm", "kmh", "mph", "rpm", "hpa", "mbar", "bar", "psi", "kpa"),
    *("kw", "mw", "gw", "kwh", "mwh", "gwh", "wh", "kv", "mv", "ma", "hz", "khz", "mhz", "ghz", "db", "kj", "kcal"),
    *(
        "kb",
        "mb",
        "gb",
        "tb",
        "kib",
        "mib",
        "gib",
        "kbit",
        "mbit",
        "gbit",
        "px",
        "pt",
        "em",
        "rem",
        "dpi",
        "pcs",
        "ppm",
    ),
    *("eur", "usd", "gbp", "chf", "jpy", "cny", "inr", "cad", "aud", "sek", "nok", "dkk", "pln", "czk", "brl", "rub"),
    *("mio", "mrd", "bn", "tsd", "vh", "°c", "°f"),
)
_LEVELS = ("trace", "debug", "info", "notice", "warn", "warning", "error", "err", "fatal", "critical", "crit", "ok")
_NAMES = rf"(?:{'|'.join(map(re.escape, (*_UNITS, *_LEVELS)))})(?:[/²³]\w{{0,3}})?"
_BESIDE_NUMBERS = re.compile(rf"\W*(?:\d[\d.,:/]*)?{_NAMES}\W*", re.IGNORECASE)
"""Words that say nothing where there is nothing else but numbers: units, currencies, the levels of a log."""

_NAMED = re.compile(rf"\W*(?:{_NAMES})\W*", re.IGNORECASE)
"""One of these alone: it counts neither for the table nor against it."""

_MOVE = re.compile(r"\W*(?:\d+\.)?[a-h][1-8][a-h][1-8][qrbn]?\W*")
"""Of a game of chess; half of them could be hexadecimal digits."""

_LONGEST_NUMBER, _STRETCH = 40, 64
_LEAST_SHARE_OF_NUMBERS, _MOST_SHARE_OF_FORMULAS = 0.5, 0.1
_MOST_LETTERS_OF_A_NUMBER = 0.25
"""As in a time, "2025-03-01T12:00:00Z"."""


def number_tables(text: str, bounds: Bounds) -> Iterator[Cut | Pause]:
    """Tables of numbers, without a word among them. Nothing of them is kept: a small model makes tags of numbers."""
    table = _Table(text, bounds)
    for block in blocks(text):
        if block[0]:
            yield Pause()
        for token in _TOKEN.finditer(text, *block) if _may_have_numbers(text, *block) else ():
            if table.has_room_for(token[0]):
                table.add(token)
            else:
                yield from table.ended()
        if table.end < block[1]:
            yield from table.ended()
    yield from table.ended()


def _may_have_numbers(text: str, start: int, end: int) -> bool:
    """Whether there is a stretch without a word, or full of digits."""
    stretches = (text[at : at + _STRETCH] for at in range(start, end, _STRETCH))
    return any(not WORD.search(each) or len(_DIGIT.findall(each)) > _STRETCH // 4 for each in stretches)


class _Table:
    """Numbers and signs that follow each other."""

    def __init__(self, text: str, bounds: Bounds) -> None:
        self._text, self._bounds = text, bounds
        self._start = self.end = self._tokens = self._said = self._numbers = self._formulas = 0

    def has_room_for(self, token: str) -> bool:
        """Whether this is no word. Between numbers some that might be words aren't."""
        if not WORD.search(token):
            return True
        may_be = len(token) <= _LONGEST_NUMBER and (self._tokens or _DIGIT.search(token))
        return bool(may_be and (_LIKE_A_NUMBER.fullmatch(token) or _BESIDE_NUMBERS.fullmatch(token)))

    def add(self, token: re.Match[str]) -> None:
        """It goes on with this."""
        self._start = self._start if self._tokens else token.start()
        self.end, self._tokens = token.end(), self._tokens + 1
        has_letters = _LETTER.search(token[0])
        if SYMBOL.search(token[0]) and not (has_letters and _NAMED.fullmatch(token[0])):
            is_formula = bool(has_letters) and _is_formula(token[0])
            self._said += 1
            self._formulas += is_formula
            self._numbers += bool(_DIGIT.search(token[0])) and not is_formula

    def ended(self) -> Iterator[Cut]:
        """What to cut of it: all, if there is very much. Another one begins."""
        said = max(self._said, 1)
        is_table = not self._said or self._numbers >= _LEAST_SHARE_OF_NUMBERS * said
        is_long = self.end - self._start > self._bounds.numbers
        if self._tokens and is_table and is_long and self._formulas <= _MOST_SHARE_OF_FORMULAS * said:
            yield Cut(self._start, self.end, kind=_NUMBERS if self._numbers else _SIGNS)
        self._tokens = self._said = self._numbers = self._formulas = 0


def _is_formula(token: str) -> bool:
    """Whether its letters say something though they are no word: "C6H12O6", "x1", a move of chess."""
    if _MOVE.fullmatch(token):
        return True
    letters = len(_LETTER.findall(token))
    is_number = _LIKE_A_NUMBER.fullmatch(token) or _BESIDE_NUMBERS.fullmatch(token)
    return letters > _MOST_LETTERS_OF_A_NUMBER * len(token) and not is_number
