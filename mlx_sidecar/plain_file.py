"""Opens what must be a plain file, without ever waiting: a name may lead to a pipe, or to a device without an end."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


def open_plain(path: Path) -> int:
    """Its descriptor, for reading. Raises IsADirectoryError, and OSError for what is neither folder nor plain file."""
    # Looked at before it is opened: opening some devices does something, and opening a pipe waits for a writer.
    _check(path.stat().st_mode)
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        _check(os.fstat(descriptor).st_mode)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _check(mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode):
        raise OSError("it is no plain file")
