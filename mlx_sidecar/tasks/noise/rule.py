"""What the rules have in common: how they say what to cut, and how they look through a text in pieces."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from msgspec import Struct

from mlx_sidecar.tasks.condensed import Cut
from mlx_sidecar.tasks.task import Pause
from mlx_sidecar.tasks.words import UNSPACED

CHARS_AT_ONCE = 64 * 1024

INVISIBLE = (
    r"\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164"
    r"\ufe00-\ufe0f\ufeff\uffa0"
)
"""Joiners, direction marks, fillers, variation selectors: alone they belong to a word or an emoji, many are blanks."""

BLANKS = re.compile(rf"[\s{INVISIBLE}]+")
_BLOCK_END = re.compile(rf"(?<=[^\s{INVISIBLE}])[\s{INVISIBLE}]")

_ESCAPED_LETTER = r"&#(?!160;)\d{3,6};|&#x(?![aA]0;)[0-9a-fA-F]{2,6};|\\u[0-9a-fA-F]{4}"
"""As some pages and most JSON write letters outside ASCII."""

WORD = re.compile(rf"[^\W\d_]{{2}}|[{UNSPACED}]|{_ESCAPED_LETTER}")
SYMBOL = re.compile(r"[^\W_]|[^\x00-\x7f\s\u2000-\u206f\u2500-\u259f\u3000-\u303f]")
"""What may say something where there is no word: a letter, a digit, an emoji."""


class Bounds(Struct, frozen=True):
    """Up to how many characters something stays as it is."""

    gap: int
    indent: int
    signs: int
    rounds: int
    numbers: int


USUAL = Bounds(gap=32, indent=32, signs=96, rounds=96, numbers=1000)
TIGHT = Bounds(gap=4, indent=8, signs=16, rounds=64, numbers=200)
"""For documents that aren't short and in which few characters are letters; even deeply nested code has more."""

Rule = Callable[[str, Bounds], Iterator[Cut | Pause]]
"""Finds what to cut, with pauses in between."""


def blocks(text: str) -> Iterator[tuple[int, int]]:
    """The text in pieces to look through at once; no row of blanks is divided, and no word of any length."""
    at = 0
    while at < len(text):
        most = at + 2 * CHARS_AT_ONCE
        if bound := _BLOCK_END.search(text, at + CHARS_AT_ONCE, most):
            end = bound.start()
        else:
            blanks = BLANKS.match(text, most)
            end = blanks.end() if blanks else min(most, len(text))
        yield at, end
        at = end
