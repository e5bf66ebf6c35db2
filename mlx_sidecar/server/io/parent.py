"""The parent: a thread waits for its death and for stdout's reader to go away. It blocks in the kernel."""

from __future__ import annotations

import contextlib
import os
import select
import sys
from collections.abc import Callable

from mlx_sidecar.server.early_init import PARENT
from mlx_sidecar.server.events import Event, OutputClosed, ParentDied
from mlx_sidecar.server.io.queue import EventQueue, WatcherThread

_POLL_MS = 500
"""How often the parent is looked after where the kernel doesn't tell of its death."""


class ParentWatcher(WatcherThread):
    """Waits for the parent's death and for stdout's reader to go away."""

    def __init__(self, events: EventQueue, stdout_fd: int, begin_shutdown: Callable[[int], None]) -> None:
        super().__init__("parent", events)
        self._stdout_fd, self._begin_shutdown = stdout_fd, begin_shutdown
        self._parent = PARENT

    def watch(self) -> None:
        """Report what comes first of the two, then be done."""
        event = self._wait()
        if event is not None:
            self._begin_shutdown(0)
            self._events.put(event)

    if sys.platform == "linux":

        def _wait(self) -> Event | None:
            poll = select.poll()
            poll.register(self._stdout_fd, 0)
            look_ms = None if self._is_watched(poll) else _POLL_MS
            while os.getppid() == self._parent:
                if gone := {fd for fd, _ in poll.poll(look_ms)}:
                    return OutputClosed() if self._stdout_fd in gone else ParentDied()
            return ParentDied()

        def _is_watched(self, poll: select.poll) -> bool:
            """Whether the kernel tells of the parent's death. Not every Python can ask, and not every sandbox lets."""
            try:
                poll.register(os.pidfd_open(self._parent), select.POLLIN)
            except (AttributeError, OSError):
                return False
            return True

    else:

        def _wait(self) -> Event | None:
            # Written from the manual page of kqueue(2); not measured on macOS.
            exits = select.kevent(
                self._parent, select.KQ_FILTER_PROC, select.KQ_EV_ADD | select.KQ_EV_ONESHOT, select.KQ_NOTE_EXIT
            )
            with contextlib.suppress(OSError):
                select.kqueue().control([exits], 1)
                return ParentDied()
            # launchd can't be watched, and doesn't die.
            return ParentDied() if os.getppid() != self._parent else None
