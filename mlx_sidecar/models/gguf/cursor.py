"""Reads the beginning of a file forwards, as far as somebody asks, and never past a limit.

A number in a header may say anything: what it counts is looked for in the file before anything is made of it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

MAGIC = b"GGUF"
"""What every file begins with."""

MOST_HEADER_BYTES = 64 * 1024 * 1024
"""Before the first tensor: a tokenizer of 262,144 tokens with its merges takes 16 MB."""

_PIECE_BYTES = 1024 * 1024
_UINT64 = struct.Struct("<Q")


class Damaged(Exception):
    """What a header says can't be; the message says why."""


class MoreBytesNeeded(Exception):
    """The beginning of a file ends before its header does."""

    def __init__(self, at_least: int) -> None:
        super().__init__(f"the header needs {at_least} bytes of the file at least")
        self.at_least = at_least


class Cursor:
    """A place in a file. `more` gives the bytes of a range; without it there is nothing behind `data`."""

    def __init__(
        self, data: bytes | bytearray, size_bytes: int | None, more: Callable[[int, int], bytes] | None = None
    ) -> None:
        self.data = bytearray(data)
        self.place = 0
        self._size_bytes, self._more = size_bytes, more

    def number(self, form: struct.Struct) -> int | float:
        """The next one, written like that."""
        return form.unpack(self.take(form.size))[0]  # type: ignore[no-any-return]

    def size(self) -> int:
        """The next count, length or offset."""
        return _UINT64.unpack(self.take(8))[0]  # type: ignore[no-any-return]

    def take(self, count: int) -> bytes:
        """The next bytes."""
        begin = self.place
        self._hold(begin + count)
        self.place = begin + count
        return bytes(self.data[begin : self.place])

    def skip(self, count: int) -> None:
        """Go past bytes, which are held all the same."""
        self._hold(self.place + count)
        self.place += count

    def skip_strings(self, count: int) -> None:
        """Go past strings; they have no index, so each has to be looked at."""
        place, held, data, unpack = self.place, len(self.data), self.data, _UINT64.unpack_from
        for _ in range(count):
            if place + 8 > held:
                self._hold(place + 8)
                held = len(data)
            place += 8 + unpack(data, place)[0]
        self._hold(place)
        self.place = place

    def _hold(self, end: int) -> None:
        """See that all bytes up to there are in `data`."""
        held = len(self.data)
        if end <= held:
            return
        if end > MOST_HEADER_BYTES:
            raise Damaged(f"it reaches to byte {end}, and {MOST_HEADER_BYTES} are read at most")
        if self._size_bytes is not None and end > self._size_bytes:
            raise Damaged(f"it reaches to byte {end} of a file of {self._size_bytes}")
        if self._more is None:
            raise MoreBytesNeeded(end)
        # Piece by piece: a damaged length shouldn't cost the memory of all that it claims.
        self.data += self._more(held, max(end - held, _PIECE_BYTES))
        if len(self.data) < end:
            raise Damaged("the file became shorter while it was read")
