"""A text of which stretches were cut out, and where each of its characters stands in the original."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence

from msgspec import Struct


class Cut(Struct, frozen=True):
    """A stretch to leave out; `put` are blanks that take its place, no more than it has characters."""

    start: int
    end: int
    put: str = ""
    kind: str = ""
    """What it was; nothing for blanks."""


class Condensed:
    """A document, first whole and then without what is cut."""

    def __init__(self, original: str) -> None:
        self.original = self.text = original
        self.passed_over = Counter[str]()
        """How many characters were cut of each kind, but for blanks."""
        # Stretches within which a place differs from the original's by one number: their places here and there.
        self._starts, self._origins = [0], [0]

    def origin(self, place: int) -> int:
        """Where the character at this place of the text stands in the original."""
        n = bisect_right(self._starts, place) - 1
        return self._origins[n] + place - self._starts[n]

    def reach(self, start: int, chars: int) -> int:
        """How far a piece of so many characters of the original goes, from this place of the text; at least one."""
        last = self.origin(start) + chars
        n = bisect_right(self._origins, last) - 1
        end = self._starts[n] + last - self._origins[n]
        stretch_ends = self._starts[n + 1] if n + 1 < len(self._starts) else len(self.text)
        return max(start + 1, min(end, stretch_ends))

    def cut(self, cuts: Sequence[Cut]) -> None:
        """Leave these out, which come in their order and don't overlap."""
        if not cuts:
            return
        pieces, stretches, at, length = list[str](), list[tuple[int, int]](), 0, 0
        for each in [*cuts, Cut(len(self.text), len(self.text))]:
            stretches += [(length + start - at, origin) for start, origin in self._stretches(at, each.start)]
            pieces.append(self.text[at : each.start])
            length += each.start - at
            if each.put:
                stretches.append((length, self.origin(each.start)))
                pieces.append(each.put)
                length += len(each.put)
            if each.kind:
                self.passed_over[each.kind] += each.end - each.start
            at = each.end
        self._starts = [start for start, _ in stretches] or [0]
        self._origins = [origin for _, origin in stretches] or [0]
        self.text = "".join(pieces)

    def _stretches(self, start: int, end: int) -> list[tuple[int, int]]:
        """The stretches between two places, each by where it begins here and there."""
        if start == end:
            return []
        inner = slice(bisect_right(self._starts, start), bisect_right(self._starts, end - 1))
        return [(start, self.origin(start)), *zip(self._starts[inner], self._origins[inner], strict=True)]
