"""A document's bytes as text, or why they are none. Nothing is replaced or cut."""

from __future__ import annotations

import codecs
import re
import sys

from mlx_sidecar.client.failures import ClientError
from mlx_sidecar.control_characters import CONTROLS_BUT_BLANKS

UTF_8 = "utf-8"

_BOMS = (
    (codecs.BOM_UTF8, UTF_8),
    # Before UTF-16's, which is how this one begins.
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_HIGH_BYTES = range(9)
"""In UTF-16 the higher bytes of Latin, Greek, Cyrillic, Hebrew and Arabic letters; in other text there are none."""

_MOST_NULS_OF_TEXT = 0.1
"""Among the lower bytes of UTF-16: those of Ā, Ѐ and a blank as wide as an n, which end in 00."""

_SAMPLE_BYTES = 4096
_EAST_ASIAN = re.compile("[\u3000-\u30ff\u3400-\u9fff\uac00-\ud7af\uff00-\uffef\t\n\r -~]")
_LEAST_EAST_ASIAN, _LEAST_CHARS = 0.95, 8
"""Of random bytes half look like one of these."""

_NO_TEXT = re.compile(f"[{CONTROLS_BUT_BLANKS}]")


class NotText(ClientError):
    """The bytes are no text."""

    code = "not_text"


class Unreadable(ClientError):
    """The file can't be read, now."""

    code = "unreadable"
    retryable = True


def decode(data: bytes) -> str:
    """UTF-8, or what a byte order mark says, or plainly UTF-16 or UTF-32. Raises NotText."""
    encoding, mark_bytes = encoding_of(data)
    try:
        text = data[mark_bytes:].decode(encoding)
    except UnicodeDecodeError as error:
        at = error.start + mark_bytes
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
    """What can be told by the places of small bytes, and of East Asian text by what it reads as; else UTF-8."""
    for encoding, high in (("utf-32-le", (2, 3)), ("utf-32-be", (1, 0))):
        if _is_utf_32(data, *high):
            return encoding
    for encoding, lower, higher in (("utf-16-le", data[::2], data[1::2]), ("utf-16-be", data[1::2], data[::2])):
        small = sum(map(higher.count, _HIGH_BYTES))
        if 2 * small > len(higher) and lower.count(0) <= max(1, _MOST_NULS_OF_TEXT * len(lower)):
            return encoding
        if not _may_be_utf_8(data) and _is_east_asian(data[:_SAMPLE_BYTES], encoding):
            return encoding
    return UTF_8


def _is_utf_32(data: bytes, plane: int, highest: int) -> bool:
    """Whether each four bytes are a number that a character has, and not all of them NUL."""
    planes = data[plane::4]
    return len(data) >= 4 and not any(data[highest::4]) and max(planes) <= sys.maxunicode >> 16 and any(data)


def _may_be_utf_8(data: bytes) -> bool:
    """Whether this beginning is; the last character may be cut."""
    try:
        codecs.getincrementaldecoder(UTF_8)().decode(data[:_SAMPLE_BYTES])
    except UnicodeDecodeError:
        return False
    return True


def _is_east_asian(data: bytes, encoding: str) -> bool:
    text = data[: len(data) // 2 * 2].decode(encoding, "replace")
    return len(text) >= _LEAST_CHARS and len(_EAST_ASIAN.findall(text)) >= _LEAST_EAST_ASIAN * len(text)
