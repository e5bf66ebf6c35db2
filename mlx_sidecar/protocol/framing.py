"""Bytes to lines. Owns the rules of framing and refuses to know what a line says."""

from __future__ import annotations

from msgspec import Struct

_BOM = b"\xef\xbb\xbf"


class Oversized(Struct, frozen=True):
    """A line that was longer than the limit and was skipped to its LF."""

    limit_bytes: int


Line = bytes | Oversized


class LineSplitter:
    """Cut a stream of chunks into lines at LF and nowhere else.

    A trailing CR is dropped, blank lines are ignored, one leading BOM is
    tolerated, and a line over `max_line_bytes` becomes one `Oversized` while
    its bytes are thrown away as they come, so memory stays bounded.
    """

    def __init__(self, max_line_bytes: int) -> None:
        self._max_line_bytes = max_line_bytes
        self._pieces: list[bytes] = []
        self._held_bytes = 0
        self._skipping = False
        self._at_start = True

    def feed(self, chunk: bytes) -> list[Line]:
        """Take the next bytes of the stream; give the lines that they complete."""
        *ended, rest = chunk.split(b"\n")
        lines: list[Line] = []
        for piece in ended:
            self._hold(piece)
            lines += self._end_line()
        self._hold(rest)
        return lines

    def close(self) -> list[Line]:
        """The stream is over: a last line without LF counts."""
        return self._end_line()

    def _hold(self, piece: bytes) -> None:
        self._held_bytes += len(piece)
        # The limit is for the line without its ending; a CR and a BOM may come on top.
        if self._held_bytes > self._max_line_bytes + len(_BOM) + 1:
            self._skipping = True
            self._pieces.clear()
        if piece and not self._skipping:
            self._pieces.append(piece)

    def _end_line(self) -> list[Line]:
        line, skipped = b"".join(self._pieces), self._skipping
        self._pieces.clear()
        self._held_bytes, self._skipping = 0, False
        if self._at_start:
            line = line.removeprefix(_BOM)
            self._at_start = False
        line = line.removesuffix(b"\r")
        if skipped or len(line) > self._max_line_bytes:
            return [Oversized(self._max_line_bytes)]
        return [line] if line.strip() else []
