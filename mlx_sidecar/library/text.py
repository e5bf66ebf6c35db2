"""A document's bytes as text, or why they are none. Nothing is replaced or cut."""

from __future__ import annotations

import codecs
import re

from mlx_sidecar.client.failures import ClientError

UTF_8 = "utf-8"

_BOMS = (
    (codecs.BOM_UTF8, UTF_8),
    # Before UTF-16's, which is how this one begins.
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_FEWEST_HIGH_BYTES = range(9)
"""In UTF-16 the higher bytes of Latin, Greek, Cyrillic, Hebrew and Arabic letters; in other text there are none."""

_NO_TEXT = re.compile(r"[\0-\x08\x0e-\x1f]")


class NotText(ClientError):
    """The bytes are no text."""

    code = "not_text"


class Unreadable(ClientError):
    """The file can't be read, now."""

    code = "unreadable"
    retryable = True


def decode(data: bytes) -> str:
    """UTF-8, or what a byte order mark says, or plainly UTF-16. Raises NotText."""
    encoding, mark_bytes = encoding_of(data)
    try:
        text = data[mark_bytes:].decode(encoding)
    except UnicodeDecodeError as problem:
        at = problem.start + mark_bytes
        raise NotText(f"this is no text: byte {at} isn't {encoding.upper()}; save it as UTF-8") from None
    is_guessed = encoding != UTF_8 and not mark_bytes
    if "\0" in text or (is_guessed and _NO_TEXT.search(text)):
        raise NotText("this is no text: it holds a NUL character; if it is text, save it as UTF-8")
    return text


def utf_8_lines(data: bytes) -> list[bytes]:
    """The lines of a file, in UTF-8 whatever they are written in. Raises NotText where that can't be told.

    A line of a UTF-8 file is left as it is: one that is no text is the fault of that line alone.
    """
    encoding, mark_bytes = encoding_of(data)
    return (data[mark_bytes:] if encoding == UTF_8 else decode(data).encode()).split(b"\n")


def encoding_of(data: bytes) -> tuple[str, int]:
    """What this, or the beginning of a file, is written in, and how many bytes its byte order mark has."""
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            return encoding, len(mark)
    return _unmarked(data), 0


def _unmarked(data: bytes) -> str:
    """UTF-16 where one byte of each two says so: a NUL stands among those and nowhere else, and most are small."""
    if b"\0" not in data:
        return UTF_8
    for encoding, lower, higher in (("utf-16-le", data[::2], data[1::2]), ("utf-16-be", data[1::2], data[::2])):
        if b"\0" not in lower and 2 * sum(map(higher.count, _FEWEST_HIGH_BYTES)) > len(higher):
            return encoding
    return UTF_8
