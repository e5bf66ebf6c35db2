"""What can happen to the worker. Everything that isn't done on the main thread arrives here as an event."""

from __future__ import annotations

import queue
from dataclasses import dataclass

from mlx_sidecar.protocol.framing import Line


@dataclass(frozen=True)
class LineCame:
    """The next line of stdin; it holds its place in the admission until it is answered."""

    line: Line


@dataclass(frozen=True)
class InputEnded:
    """stdin is at its end, or can't be read any more."""


@dataclass(frozen=True)
class OutputClosed:
    """Nobody reads stdout any more."""


@dataclass(frozen=True)
class ParentDied:
    """The process that spawned the worker is gone."""


@dataclass(frozen=True)
class SignalCame:
    """SIGINT, SIGTERM or SIGHUP, for the first time."""

    number: int


@dataclass(frozen=True)
class OutputWritten:
    """The writer was closed and has written everything."""


Event = LineCame | InputEnded | OutputClosed | OutputWritten | ParentDied | SignalCame


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
