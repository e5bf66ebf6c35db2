"""stdin: a thread reads lines, as far as the admission lets it."""

from __future__ import annotations

import os
import threading

from mlx_sidecar.protocol.framing import Line, LineSplitter
from mlx_sidecar.server.events import InputEnded, LineReceived
from mlx_sidecar.server.io.queue import EventQueue, WatcherThread

_READ_BYTES = 256 * 1024


class Admission:
    """How many request lines, and how many of their bytes, may be in the worker at once."""

    def __init__(self, max_lines: int, max_bytes: int) -> None:
        self._max_lines, self._max_bytes = max_lines, max_bytes
        self._lines = self._bytes = 0
        self._changed = threading.Condition()

    def enter(self, size_bytes: int) -> None:
        """Wait until there is room. One line always finds room in an empty worker."""
        with self._changed:
            self._changed.wait_for(lambda: self._fits(size_bytes))
            self._lines += 1
            self._bytes += size_bytes

    def leave(self, size_bytes: int) -> None:
        """A request was answered and its last line written."""
        with self._changed:
            self._lines -= 1
            self._bytes -= size_bytes
            self._changed.notify()

    def _fits(self, size_bytes: int) -> bool:
        if self._lines == 0:
            return True
        return self._lines < self._max_lines and self._bytes + size_bytes <= self._max_bytes


def line_size(line: Line) -> int:
    """What a line takes of the admission's bytes."""
    return len(line) if isinstance(line, bytes) else 0


class StdinReader(WatcherThread):
    """Splits stdin into lines and puts them into the queue, as far as the admission lets it."""

    def __init__(self, fd: int, events: EventQueue, admission: Admission, max_line_bytes: int) -> None:
        super().__init__("stdin", events)
        self._fd, self._admission = fd, admission
        self._splitter = LineSplitter(max_line_bytes)

    def watch(self) -> None:
        """Read to the end of stdin."""
        while chunk := self._read():
            self._pass_on(self._splitter.feed(chunk))
        self._pass_on(self._splitter.close())
        self._events.put(InputEnded())

    def _read(self) -> bytes:
        while True:
            try:
                # A parent may set O_NONBLOCK on our end; then a read without data would look like a failure.
                os.set_blocking(self._fd, True)
                return os.read(self._fd, _READ_BYTES)
            except BlockingIOError:
                continue
            except OSError:
                return b""

    def _pass_on(self, lines: list[Line]) -> None:
        for line in lines:
            self._admission.enter(line_size(line))
            self._events.put(LineReceived(line))
