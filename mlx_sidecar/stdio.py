"""The pipes: reads lines on one thread, writes them on another.

The loop never waits for a pipe: a parent that doesn't read only fills the
writer's memory, and that is bounded because a request keeps its place in the
admission until its last line has been written.
"""

from __future__ import annotations

import errno
import os
import select
import stat
import threading
from collections import deque
from collections.abc import Callable, Iterable

from mlx_sidecar.inbox import Inbox, InputEnded, LineCame, OutputClosed, OutputWritten, Source
from mlx_sidecar.protocol.framing import Line, LineSplitter
from mlx_sidecar.write_all import write_all

_READ_BYTES = 256 * 1024
_NOBODY_READS = (errno.EPIPE, errno.ECONNRESET, errno.EIO)
"""How a pipe, a socket and a terminal say that their other end is gone."""


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


class Reader(Source):
    """Splits stdin into lines and puts them into the inbox, as far as the admission lets it."""

    def __init__(self, fd: int, inbox: Inbox, admission: Admission, max_line_bytes: int) -> None:
        super().__init__("stdin", inbox)
        self._fd, self._inbox, self._admission = fd, inbox, admission
        self._splitter = LineSplitter(max_line_bytes)

    def watch(self) -> None:
        """Read to the end of stdin."""
        while chunk := self._read():
            self._pass_on(self._splitter.feed(chunk))
        self._pass_on(self._splitter.close())
        self._inbox.put(InputEnded())

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
            self._inbox.put(LineCame(line))


def _room_in(fd: int) -> select.poll | None:
    """What tells whether a pipe has room; None for anything else: a file or a terminal may keep a writer waiting."""
    if not stat.S_ISFIFO(os.fstat(fd).st_mode):
        return None
    room = select.poll()
    room.register(fd, select.POLLOUT)
    return room


_Said = tuple[bytes, Callable[[], None] | None]


def _joined(said: Iterable[_Said]) -> bytes:
    return b"".join(line for line, _ in said)


def _tell(said: Iterable[_Said]) -> None:
    for _, when_written in said:
        if when_written is not None:
            when_written()


class Writer(Source):
    """Writes whole lines to stdout in the order in which it got them.

    What one turn of the loop has to say goes out together: at once where it is
    short and the pipe has room for it, which spares two changes of threads for
    each token that is streamed. Everything else is left to the thread, which may
    wait. `write`, `flush` and `close` belong to the main thread.
    """

    def __init__(self, fd: int, inbox: Inbox) -> None:
        super().__init__("stdout", inbox)
        self._fd, self._inbox = fd, inbox
        self._taken: list[_Said] = []
        self._waiting: deque[_Said] = deque()
        self._changed = threading.Condition()
        self._closing = self._broken = self._writing = False
        self.failure = ""
        """Why lines were lost though stdout isn't closed, such as a full disk behind it."""
        self._room = _room_in(fd)

    def write(self, line: bytes, when_written: Callable[[], None] | None = None) -> None:
        """Take a line for the next flush. `when_written` is called once it is in the pipe, on whatever thread."""
        self._taken.append((line, when_written))

    def flush(self) -> None:
        """Let out what was taken; never blocks."""
        if not self._taken:
            return
        taken, self._taken = self._taken, []
        with self._changed:
            at_once = not self._waiting and not self._writing and self._write_at_once(_joined(taken))
            if not at_once:
                self._waiting.extend(taken)
                self._changed.notify_all()
        if at_once:
            _tell(taken)

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
        """There are no more lines; when all are written, the inbox hears of it."""
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
            _tell(batch)
        self._inbox.put(OutputWritten())

    def _next_batch(self) -> list[_Said]:
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
        except OSError as problem:
            self._broken = True
            self.failure = "" if problem.errno in _NOBODY_READS else str(problem.strerror)
            self._inbox.put(OutputClosed())
