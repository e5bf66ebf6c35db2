"""stdout: lines are written at once where the pipe has room, and on a thread where it hasn't.

The loop never waits for a pipe: a parent that doesn't read only fills the
writer's memory, and that is bounded because a request keeps its place in the
admission until its last line has been written.

What one iteration of the loop says goes out in one `write` where it fits the pipe. A line at a time cost 16 sequences
16 system calls a step, and a flood of small requests most of its time (2026-11-21).
"""

from __future__ import annotations

import errno
import os
import select
import stat
import threading
from collections import deque
from collections.abc import Callable, Iterable

from mlx_sidecar.server.events import OutputClosed, OutputWritten
from mlx_sidecar.server.io.queue import EventQueue, WatcherThread
from mlx_sidecar.write_all import write_all

_CLOSED = (errno.EPIPE, errno.ECONNRESET, errno.EIO)
"""How a pipe, a socket and a terminal say that their other end is gone."""


def _room_in(fd: int) -> select.poll | None:
    """What tells whether a pipe has room; None for anything else: a file or a terminal may keep a writer waiting."""
    if not stat.S_ISFIFO(os.fstat(fd).st_mode):
        return None
    room = select.poll()
    room.register(fd, select.POLLOUT)
    return room


_Buffered = tuple[bytes, Callable[[], None] | None]


def _joined(lines: Iterable[_Buffered]) -> bytes:
    return b"".join(line for line, _ in lines)


def _report(lines: Iterable[_Buffered]) -> None:
    for _, when_written in lines:
        if when_written is not None:
            when_written()


class StdoutWriter(WatcherThread):
    """Writes whole lines to stdout in the order in which it got them.

    All lines of one iteration of the loop go out together: at once where they are
    short and the pipe has room for them, which spares two changes of threads for
    each token that is streamed. Everything else is left to the thread, which may
    wait. `write`, `flush` and `close` belong to the main thread.
    """

    def __init__(self, fd: int, events: EventQueue) -> None:
        super().__init__("stdout", events)
        self._fd = fd
        self._buffer: list[_Buffered] = []
        self._waiting: deque[_Buffered] = deque()
        self._changed = threading.Condition()
        self._closing = self._broken = self._writing = False
        self.failure = ""
        """Why lines were lost though stdout isn't closed, such as a full disk behind it."""
        self._room = _room_in(fd)

    def write(self, line: bytes, when_written: Callable[[], None] | None = None) -> None:
        """Take a line for the next flush. `when_written` is called once it is in the pipe, on whatever thread."""
        self._buffer.append((line, when_written))

    def flush(self) -> None:
        """Flush buffered lines; never blocks."""
        if not self._buffer:
            return
        taken, self._buffer = self._buffer, []
        with self._changed:
            at_once = not self._waiting and not self._writing and self._write_at_once(_joined(taken))
            if not at_once:
                self._waiting.extend(taken)
                self._changed.notify_all()
        if at_once:
            _report(taken)

    def _write_at_once(self, data: bytes) -> bool:
        """Whether it is out. A pipe that is said to be writable takes up to PIPE_BUF bytes whole."""
        if not data:
            return True
        if self._room is None or len(data) > select.PIPE_BUF or not self._room.poll(0):
            return False
        try:
            os.write(self._fd, data)
        except OSError:
            # The thread finds out what it is.
            return False
        return True

    def close(self) -> None:
        """There are no more lines; when all are written, an OutputWritten is put into the queue."""
        self.flush()
        with self._changed:
            self._closing = True
            self._changed.notify_all()

    def wait_until_written(self, timeout_s: float) -> None:
        """Until the pipe has all that was let out, or the time is up. On whatever thread."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting and not self._writing, timeout_s)

    def watch(self) -> None:
        """Write until closed."""
        while batch := self._next_batch():
            self._write_all(_joined(batch))
            _report(batch)
        self._events.put(OutputWritten())

    def _next_batch(self) -> list[_Buffered]:
        with self._changed:
            self._writing = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: bool(self._waiting) or self._closing)
            batch = list(self._waiting)
            self._waiting.clear()
            self._writing = bool(batch)
            return batch

    def _write_all(self, data: bytes) -> None:
        if self._broken:
            return
        try:
            write_all(self._fd, data)
        except OSError as error:
            self._broken = True
            self.failure = "" if error.errno in _CLOSED else str(error.strerror)
            self._events.put(OutputClosed())
