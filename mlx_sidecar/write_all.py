"""The one way to write bytes to a descriptor: all of them, or an error."""

from __future__ import annotations

import os


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write all of `data`; raises OSError where that can't be, and then some of it may be written.

    `os.write` writes less than it was given on a disk that is nearly full and on
    a pipe that a signal interrupts. Where another process has set O_NONBLOCK on
    the open file that it shares with this one, blocking mode is set again: this
    call waits for room, as one on a blocking pipe does.
    """
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:
            os.set_blocking(descriptor, True)
