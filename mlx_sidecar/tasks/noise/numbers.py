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
_LIKE_A_NUMBER = re.compile(
    r"\W*(?:nan|n/?a|null|none|nil|inf|true|false|\d[\d.,]*e[+-]?\d+|(?:0x|\\x)?[0-9a-f]*\d[0-9a-f]*|[0-9a-f]{2}|[a-f]{4})\W*",
    re.IGNORECASE,
)
"""What stands among numbers: no value, an exponent, hexadecimal digits."""

_LONGEST_NUMBER, _STRETCH = 40, 64
_LEAST_SHARE_OF_NUMBERS = 0.5
_SEPARATOR = re.compile(r"[\s,;|]")


def number_tables(text: str, bounds: Bounds) -> Iterator[Cut | Pause]:
    """Tables of numbers, without a word among them. The first of them are kept, to show what there is."""
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
        self._start = self.end = self._tokens = self._said = self._numbers = 0

    def has_room_for(self, token: str) -> bool:
        """Whether this is no word. Between numbers some that might be words aren't."""
        if not WORD.search(token):
            return True
        may_be = len(token) <= _LONGEST_NUMBER and (self._tokens or _DIGIT.search(token))
        return bool(may_be and _LIKE_A_NUMBER.fullmatch(token))

    def add(self, token: re.Match[str]) -> None:
        """It goes on with this."""
        self._start = self._start if self._tokens else token.start()
        self.end, self._tokens = token.end(), self._tokens + 1
        self._said += bool(SYMBOL.search(token[0]))
        self._numbers += bool(_DIGIT.search(token[0]))

    def ended(self) -> Iterator[Cut]:
        """What to cut of it: the greater part, if there is very much. Another one begins."""
        start, share = self._start, self._numbers / max(self._said, 1)
        is_table = not self._said or share >= _LEAST_SHARE_OF_NUMBERS
        if self._tokens and is_table and self.end - start > self._bounds.numbers:
            shown = start + self._bounds.numbers // 4
            ends = [found.start() for found in _SEPARATOR.finditer(self._text, start + 1, shown)]
            yield Cut(ends[-1] if ends else shown, self.end, kind=_NUMBERS if share else _SIGNS)
        self._tokens = self._said = self._numbers = 0
