"""A document's bytes as text, or why they are none. Nothing is guessed, replaced or cut."""

from __future__ import annotations

import codecs

from mlx_sidecar.client.failures import ClientError

_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))


class NotText(ClientError):
    """The bytes are no text."""

    code = "not_text"


class Unreadable(ClientError):
    """The file can't be read, now."""

    code = "unreadable"
    retryable = True


def decode(data: bytes) -> str:
    """UTF-8, or what a byte order mark says. Raises NotText."""
    encoding = "utf-8"
    for mark, named in _BOMS:
        if data.startswith(mark):
            data, encoding = data[len(mark) :], named
            break
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as problem:
        raise NotText(f"this is no text: byte {problem.start} isn't {encoding.upper()}; save it as UTF-8") from None
    if "\0" in text:
        raise NotText("this is no text: it holds a NUL character")
    return text
