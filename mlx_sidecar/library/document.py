"""The bytes of a document, with a bound in size and time, whatever lies under its name."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from mlx_sidecar.errors import MessageTooLarge
from mlx_sidecar.library.item import MOST_BYTES
from mlx_sidecar.library.text import Unreadable

_READ_BYTES = 2**20


def read_file(path: Path) -> bytes:
    """What a plain file holds. Raises Unreadable, MessageTooLarge."""
    try:
        # Looked at before it is opened: opening some devices does something, and opening a pipe waits for a writer.
        _check_plain(path.stat().st_mode)
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            found = os.fstat(descriptor)
            _check_plain(found.st_mode)
            if found.st_size > MOST_BYTES:
                raise _too_large(f"{found.st_size} bytes")
            return _read(descriptor)
        finally:
            os.close(descriptor)
    except BlockingIOError:
        raise Unreadable("this can't be read: nothing comes of it") from None
    except OSError as problem:
        raise unreadable(problem) from None


def read_stream(descriptor: int) -> bytes:
    """All that comes of a file, a pipe or a terminal, to its end. Raises Unreadable, MessageTooLarge."""
    try:
        # Whoever has the other end may have set O_NONBLOCK: then a moment without data would look like the end.
        os.set_blocking(descriptor, True)
        return _read(descriptor)
    except OSError as problem:
        raise unreadable(problem) from None


def _read(descriptor: int) -> bytes:
    data = bytearray()
    while chunk := os.read(descriptor, _READ_BYTES):
        data += chunk
        if len(data) > MOST_BYTES:
            raise _too_large(f"more than {MOST_BYTES} bytes")
    return bytes(data)


def _check_plain(mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise Unreadable("this folder can't be looked into")
    if not stat.S_ISREG(mode):
        raise Unreadable("this can't be read: it is no plain file")


def _too_large(size: str) -> MessageTooLarge:
    return MessageTooLarge(f"the document has {size}; {MOST_BYTES} fit into a request")


def unreadable(problem: OSError) -> Unreadable:
    """What the system says of a document."""
    if problem.errno == errno.EISDIR:
        return Unreadable("this is a folder; with --out FILE all its documents are asked about")
    return Unreadable(f"this can't be read: {problem.strerror or type(problem).__name__}")
