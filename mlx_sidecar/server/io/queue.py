"""The one queue between the threads that wait and the loop."""

from __future__ import annotations

import queue
import threading
from abc import abstractmethod
from collections import deque

from mlx_sidecar.protocol.framing import Line
from mlx_sidecar.server.events import Event, LineReceived, ThreadFailed


class EventQueue:
    """Any thread puts events in, the loop takes them out.

    An event is removed only after it was handled, so that each line is owned by the queue or by a request. `peek` and
    `pop` belong to the loop; `pop` and `take_lines` are for the thread that holds the output lock.
    """

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._fetched: deque[Event] = deque()

    def put(self, event: Event) -> None:
        """Hand over an event; never blocks. The admission bounds the lines in here."""
        self._queue.put(event)

    def fetch(self, *, wait: bool, timeout_s: float | None = None) -> None:
        """Let `peek` give the events that are there by now. With `wait`, sleep until there is one or the time is up."""
        try:
            if not self._fetched:
                self._fetched.append(self._queue.get(wait, timeout_s))
            while not self._queue.empty():
                self._fetched.append(self._queue.get_nowait())
        except queue.Empty:
            # The time is up, or another thread took it.
            return

    def peek(self) -> Event | None:
        """The oldest event that was fetched, which stays in here."""
        # Another thread may have taken what was left.
        return self._fetched[0] if self._fetched else None

    def pop(self) -> None:
        """The oldest event is handled now, if no other thread has taken it with the lines."""
        if self._fetched:
            self._fetched.popleft()

    def take_lines(self) -> list[Line]:
        """Empty the queue; gives the lines that were in it."""
        self.fetch(wait=False)
        lines = [event.line for event in self._fetched if isinstance(event, LineReceived)]
        self._fetched.clear()
        return lines


class WatcherThread(threading.Thread):
    """A thread that waits for something outside. The loop gets an event when it fails, and ends the worker."""

    def __init__(self, name: str, events: EventQueue) -> None:
        super().__init__(name=name, daemon=True)
        self._events = events

    @abstractmethod
    def watch(self) -> None:
        """Wait, and put what happened into the queue."""

    def run(self) -> None:
        """Watch; called by the thread."""
        try:
            self.watch()
        except BaseException as error:
            self._events.put(ThreadFailed(error))
