"""Redirects fds 0 to 2, so that stray output of libraries, children and native code can't reach the protocol stream.

fd 1 and 2 don't wait for a reader (2026-11-26): a library that prints 64 KB which nobody reads would hang the worker.
Linux opens a pipe anew by `/proc/self/fd/2`, with an O_NONBLOCK of its own; elsewhere that flag would be the parent's
too. A pipe of our own with a thread behind it was the other way; it would lose the last words of a crash.
"""

from __future__ import annotations

import contextlib
import io
import os
import stat
import sys

from msgspec import Struct


class Pipes(Struct, frozen=True):
    """The worker's own descriptors for the pipes that it was started with."""

    stdin: int
    stdout: int
    stderr: int


def redirect_stdio() -> Pipes:
    """Give private descriptors; then fd 1 and 2 are stderr for whoever prints, and fd 0 is /dev/null.

    A standard descriptor that is closed at the start counts as /dev/null.
    """
    for fd in (0, 1, 2):
        _ensure_open(fd)
    pipes = Pipes(os.dup(0), os.dup(1), os.dup(2))
    _never_wait_at(2)
    os.dup2(2, 1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    sys.stdout = sys.stderr = io.TextIOWrapper(
        io.BufferedWriter(_Stray()), errors="backslashreplace", line_buffering=True
    )
    return pipes


def _ensure_open(fd: int) -> None:
    try:
        os.fstat(fd)
    except OSError:
        # The lowest free number is `fd` itself: the ones below it are open by now.
        os.open(os.devnull, os.O_RDWR)


def _never_wait_at(fd: int) -> None:
    """Let writers to a pipe lose what there is no room for: the pipe is opened anew, for this process and its children.

    Neither macOS nor a socket can do that, and the flag of what is there is shared with whoever else has it.
    """
    if sys.platform != "linux" or not stat.S_ISFIFO(os.fstat(fd).st_mode):
        return
    try:
        anew = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        # Nobody reads it, or there is no /proc.
        return
    os.dup2(anew, fd)
    os.close(anew)


class _Stray(io.FileIO):
    """stderr for Python's own prints: what can't be written is no error of who printed it."""

    def __init__(self) -> None:
        super().__init__(2, "wb", closefd=False)

    def write(self, data: bytes, /) -> int:  # type: ignore[override]
        """Write what there is room for, and take everything."""
        with contextlib.suppress(OSError):
            super().write(data)
        return len(data)
