"""What can happen to the worker. Everything that isn't done on the main thread arrives here as an event."""

from __future__ import annotations

import queue

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


class OutputWritten(Struct, frozen=True):
    """The writer was closed and has written everything."""


Event = LineCame | DownloadSaid | InputEnded | OutputClosed | OutputWritten | ParentDied | SignalCame


class Inbox:
    """The one queue between the other threads and the loop."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Event] = queue.SimpleQueue()

    def put(self, event: Event) -> None:
        """Hand over an event; never blocks. What bounds the lines in here is the admission."""
        self._queue.put(event)

    def take(self, *, wait: bool, timeout_s: float | None = None) -> list[Event]:
        """Everything that is there. With `wait`, sleep until there is something or the time is up."""
        events: list[Event] = []
        try:
            events.append(self._queue.get(block=wait, timeout=timeout_s))
            while True:
                events.append(self._queue.get_nowait())
        except queue.Empty:
            return events
