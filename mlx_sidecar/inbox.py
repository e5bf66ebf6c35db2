"""What can happen to the worker. Everything that isn't done on the main thread arrives here as an event."""

from __future__ import annotations

import contextlib
import queue
import threading
from abc import abstractmethod
from collections import deque
from collections.abc import Iterator

from msgspec import Struct

from mlx_sidecar.protocol.framing import Line


class LineCame(Struct, frozen=True):
    """The next line of stdin; it holds its place in the admission until it is answered."""

    line: Line


class InputEnded(Struct, frozen=True):
    """stdin is at its end, or can't be read any more."""


class OutputClosed(Struct, frozen=True):
    """Nobody reads stdout any more."""


class ParentDied(Struct, frozen=True):
    """The process that spawned the worker is gone."""


class SignalCame(Struct, frozen=True):
    """SIGINT, SIGTERM or SIGHUP, for the first time."""

    number: int


class DownloadSaid(Struct, frozen=True):
    """A download's child process has written a line; an empty one is its end."""

    download: int
    line: bytes


class WorkDone(Struct, frozen=True):
    """What the task of the request with this number waits for is done."""

    request: int


class ThreadFailed(Struct, frozen=True):
    """A thread that the loop can't do without has ended by a bug, or for want of memory."""

    problem: BaseException


class OutputWritten(Struct, frozen=True):
    """The writer was closed and has written everything."""


Event = (
    LineCame
    | DownloadSaid
    | WorkDone
    | InputEnded
    | OutputClosed
    | OutputWritten
    | ParentDied
    | SignalCame
    | ThreadFailed
)


class Inbox:
    """The one queue between the other threads and the loop."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._fetched: deque[Event] = deque()

    def put(self, event: Event) -> None:
        """Hand over an event; never blocks. What bounds the lines in here is the admission."""
        self._queue.put(event)

    def take(self, *, wait: bool, timeout_s: float | None = None) -> Iterator[Event]:
        """Everything that is there by now. With `wait`, sleep until there is something or the time is up.

        Each stays in here until it was dealt with, so that a line is never nowhere.
        """
        self._fetch(wait, timeout_s)
        # Another thread may take what is left, and then there is no more for this one.
        with contextlib.suppress(IndexError):
            while self._fetched:
                event = self._fetched[0]
                yield event
                if self._fetched[0] is event:
                    self._fetched.popleft()

    def opened(self) -> None:
        """The line that was taken last is a request now. Only for who holds the ledger's voice, as the next one."""
        self._fetched.popleft()

    def take_unopened(self) -> list[Line]:
        """All lines that aren't requests yet, for a thread that ends them in the loop's place."""
        self._fetch(wait=False, timeout_s=None)
        lines = [event.line for event in self._fetched if isinstance(event, LineCame)]
        self._fetched.clear()
        return lines

    def _fetch(self, wait: bool, timeout_s: float | None) -> None:
        with contextlib.suppress(queue.Empty):
            self._fetched.append(self._queue.get(block=wait, timeout=timeout_s))
            while True:
                self._fetched.append(self._queue.get_nowait())


class Source(threading.Thread):
    """A thread that waits for something outside. When it fails the loop hears of it, and doesn't wait in vain."""

    def __init__(self, name: str, inbox: Inbox) -> None:
        super().__init__(name=name, daemon=True)
        self._inbox = inbox

    @abstractmethod
    def watch(self) -> None:
        """Wait, and put what happened into the inbox."""

    def run(self) -> None:
        """Watch; called by the thread."""
        try:
            self.watch()
        except BaseException as problem:
            self._inbox.put(ThreadFailed(problem))
