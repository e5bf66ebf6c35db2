"""The log on stderr. Never waits: a parent that doesn't read stderr loses log lines, not time.

Not the standard library's `logging`, whose import would take a tenth of the
time until the first answer.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque

LEVELS = ("debug", "info", "warning", "error", "critical")

_MOST_WAITING = 1000


class Log:
    """Writes on a thread of its own, at most `_MOST_WAITING` lines behind; older ones give way."""

    def __init__(self, level: str) -> None:
        self._least = LEVELS.index(level)
        self._waiting: deque[bytes] = deque(maxlen=_MOST_WAITING)
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closing = False

    def write(self, level: str, message: str, problem: BaseException | None = None) -> None:
        """Log a line, and the traceback of `problem`. Never put a document's text, a prompt or a token in here."""
        if LEVELS.index(level) < self._least:
            return
        if problem is not None:
            import traceback

            message = f"{message}\n{''.join(traceback.format_exception(problem)).rstrip()}"
        line = f"{time.strftime('%Y-%m-%d %H:%M:%S')} {level.upper()} {message}\n"
        with self._changed:
            self._waiting.append(line.encode("utf-8", "replace"))
            self._changed.notify()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="stderr", daemon=True)
                self._thread.start()

    def close(self, timeout_s: float) -> None:
        """Give the lines that wait a moment to get out."""
        with self._changed:
            self._closing = True
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
            try:
                os.write(2, lines)
            except OSError:
                return
