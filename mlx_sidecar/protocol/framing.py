"""Bytes to lines. Owns the rules of framing and refuses to know what a line says."""

from __future__ import annotations

import codecs

from msgspec import Struct

_BOM = codecs.BOM_UTF8


class Oversized(Struct, frozen=True):
    """A line that was longer than the limit and was skipped to its LF."""

    limit_bytes: int


Line = bytes | Oversized


def wide_encoding(line: bytes) -> str | None:
    """UTF-16 or UTF-32 where a line plainly is: it has their mark, or NULs between its first ASCII characters."""
    if line.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "UTF-32"
    if line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "UTF-16"
    # What is left of the LF before this line may stand at its beginning.
    head = line[:12].lstrip(b"\0")
    if head[1:4] == b"\0\0\0":
        return "UTF-32"
    return "UTF-16" if head[1:2] == head[3:4] == b"\0" else None


class LineSplitter:
    """Cut a stream of chunks into lines at LF and nowhere else.

    A trailing CR is dropped, blank lines are ignored, one leading BOM is
    tolerated, and a line over `max_line_bytes` becomes one `Oversized` while
    its bytes are thrown away as they come, so memory stays bounded. Of a stream
    that begins in UTF-16 or UTF-32 each line becomes one that can't be read.
    """

    def __init__(self, max_line_bytes: int) -> None:
        self._max_line_bytes = max_line_bytes
        # One buffer: a line may come in very many pieces, and each object of its own takes a lot more than its bytes.
        self._held = bytearray()
        self._skipping = False
        self._at_start = True
        self._is_wide = False

    def feed(self, chunk: bytes) -> list[Line]:
        """Take the next bytes of the stream; give the lines that they complete."""
        *ended, rest = chunk.split(b"\n")
        lines: list[Line] = []
        for piece in ended:
            lines += self._end_line(piece)
        self._hold(rest)
        return lines

    def close(self) -> list[Line]:
        """The stream is over: a last line without LF counts."""
        return self._end_line(b"")

    def _hold(self, piece: bytes) -> None:
        # The limit is for the line without its ending; a CR and a BOM may come on top.
        if self._skipping or len(self._held) + len(piece) > self._max_line_bytes + len(_BOM) + 1:
            self._skipping = True
            self._held.clear()
        else:
            self._held += piece

    def _end_line(self, piece: bytes) -> list[Line]:
        line, skipped = self._whole(piece), self._skipping
        self._skipping = False
        if self._at_start:
            self._is_wide = wide_encoding(line) is not None
            line = line.removeprefix(_BOM)
            self._at_start = False
        line = line.removesuffix(b"\r")
        if skipped or len(line) > self._max_line_bytes:
            return [Oversized(self._max_line_bytes)]
        return [] if self._is_blank(line) else [line]

    def _is_blank(self, line: bytes) -> bool:
        # The other bytes of a wider LF are no line.
        return not (line.replace(b"\0", b"") if self._is_wide else line).strip()

    def _whole(self, piece: bytes) -> bytes:
        """The line whose last piece this is; most come in one."""
        if not self._held:
            return piece
        self._hold(piece)
        line = bytes(self._held)
        self._held.clear()
        return line
