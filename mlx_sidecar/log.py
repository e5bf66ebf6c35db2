"""The log on stderr. Never waits: a parent that doesn't read stderr loses log lines, not time."""

from __future__ import annotations

import logging
import os
import threading
from collections import deque

logger = logging.getLogger("mlx_sidecar")

_MOST_WAITING = 1000


class StderrLog(logging.Handler):
    """Writes on a thread of its own, at most `_MOST_WAITING` records behind; older ones give way."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        self._waiting: deque[bytes] = deque(maxlen=_MOST_WAITING)
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closing = False

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a record."""
        line = self.format(record).encode("utf-8", "replace") + b"\n"
        with self._changed:
            self._waiting.append(line)
            self._changed.notify()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="stderr", daemon=True)
                self._thread.start()

    def finish(self, timeout_s: float) -> None:
        """Give the records that wait a moment to get out."""
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


def set_up(level: str) -> StderrLog:
    """Send the package's log to stderr from `level` on."""
    handler = StderrLog()
    logger.addHandler(handler)
    logger.setLevel(level.upper())
    logger.propagate = False
    return handler
