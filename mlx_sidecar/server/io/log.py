"""The log on stderr. Never waits: a parent that doesn't read stderr loses log lines, not time.

Not the standard library's `logging`, whose import would take a tenth of the
time until the first answer.
"""

from __future__ import annotations

import threading
import time
from collections import deque

from mlx_sidecar.write_all import write_all

LEVELS = ("debug", "info", "warning", "error", "critical")

_MOST_WAITING = 1000
_MOST_A_SECOND = 200
"""Lines that are written in any second; a flood of requests is one of lines otherwise."""


class Log:
    """Writes on a thread of its own, at most `_MOST_WAITING` lines behind. What it leaves out it counts."""

    def __init__(self, level: str, fd: int) -> None:
        self._least, self._fd = LEVELS.index(level), fd
        self._waiting: deque[bytes] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closing = False
        self._second, self._written, self._left_out = 0, 0, 0

    def wants(self, level: str) -> bool:
        """Whether lines of this level are written at all."""
        return LEVELS.index(level) >= self._least

    def write(self, level: str, message: str, error: BaseException | None = None) -> None:
        """Log a line, and the traceback of `problem`. Never put a document's text, a prompt or a token in here."""
        if not self.wants(level):
            return
        if error is not None:
            message = f"{message}\n{self._traceback(error)}"
        with self._changed:
            if self._has_room(level):
                self._put(level, message)
            else:
                self._left_out += 1

    def _traceback(self, error: BaseException) -> str:
        """Where it happened. What it says may quote a document, and is for those who ask for everything."""
        import traceback

        frames = "".join(traceback.format_tb(error.__traceback__))
        said = f": {error}" if self.wants("debug") else ""
        return f"Traceback (most recent call last):\n{frames}{type(error).__qualname__}{said}"

    def _has_room(self, level: str) -> bool:
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._written = second, 0
        self._written += 1
        is_quiet = self._written <= _MOST_A_SECOND or level == "critical"
        return is_quiet and len(self._waiting) < _MOST_WAITING

    def _put(self, level: str, message: str) -> None:
        self._note_left_out()
        self._waiting.append(_line(level, message))
        self._changed.notify()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="stderr", daemon=True)
            self._thread.start()

    def _note_left_out(self) -> None:
        if self._left_out:
            self._waiting.append(_line("warning", f"{self._left_out} lines were left out here"))
            self._left_out = 0

    def close(self, timeout_s: float) -> None:
        """Give the lines that wait a moment to get out."""
        with self._changed:
            self._closing = True
            self._note_left_out()
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._waiting) or self._closing)
                if not self._waiting:
                    return
                lines = b"".join(self._waiting)
                self._waiting.clear()
            if not _is_written(self._fd, lines):
                return


def _line(level: str, message: str) -> bytes:
    return f"{time.strftime('%Y-%m-%d %H:%M:%S')} {level.upper()} {message}\n".encode("utf-8", "replace")


def _is_written(fd: int, lines: bytes) -> bool:
    """Whether stderr took them; waits for a reader as long as it takes."""
    try:
        write_all(fd, lines)
    except OSError:
        return False
    return True
