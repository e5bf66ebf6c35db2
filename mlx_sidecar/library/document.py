"""The bytes of a document, with a bound in size and time, whatever lies under its name."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from mlx_sidecar.errors import MessageTooLarge
from mlx_sidecar.library.item import MOST_BYTES
from mlx_sidecar.library.text import Unreadable
from mlx_sidecar.plain_file import open_plain

_READ_BYTES = 2**20


def read_file(path: Path) -> bytes:
    """What a plain file holds. Raises Unreadable, MessageTooLarge."""
    try:
        descriptor = open_plain(path)
        try:
            if (size := os.fstat(descriptor).st_size) > MOST_BYTES:
                raise _too_large(f"{size} bytes")
            return _read(descriptor)
        finally:
            os.close(descriptor)
    except BlockingIOError:
        raise Unreadable("this can't be read: nothing comes of it") from None
    except IsADirectoryError:
        raise Unreadable("this folder can't be looked into") from None
    except OSError as error:
        raise unreadable(error) from None


def read_stream(descriptor: int) -> bytes:
    """All that comes of a file, a pipe or a terminal, to its end. Raises Unreadable, MessageTooLarge."""
    try:
        # Whoever has the other end may have set O_NONBLOCK: then a moment without data would look like the end.
        os.set_blocking(descriptor, True)
        return _read(descriptor)
    except OSError as error:
        raise unreadable(error) from None


def _read(descriptor: int) -> bytes:
    data = bytearray()
    while chunk := os.read(descriptor, _READ_BYTES):
        data += chunk
        if len(data) > MOST_BYTES:
            raise _too_large(f"more than {MOST_BYTES} bytes")
    return bytes(data)


def _too_large(size: str) -> MessageTooLarge:
    return MessageTooLarge(f"the document has {size}; {MOST_BYTES} fit into a request")


def unreadable(error: OSError) -> Unreadable:
    """What the system says of a document."""
    if error.errno == errno.EISDIR:
        return Unreadable("this is a folder; with --out FILE all its documents are asked about")
    return Unreadable(f"this can't be read: {error.strerror or str(error) or type(error).__name__}")
