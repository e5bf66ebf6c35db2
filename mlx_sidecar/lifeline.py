"""Signals, and whether anybody is still there: the threads that wait for the end.

All of them block in the kernel; an idle worker costs nothing.
"""

from __future__ import annotations

import contextlib
import os
import queue
import select
import signal
import sys
import threading
import time
from collections.abc import Callable

from mlx_sidecar.inbox import Event, Inbox, OutputClosed, ParentDied, SignalCame, Source
from mlx_sidecar.outset import PARENT, SIGNALS

_LAST_RESORT_S = 1.5
"""How long the loop has to end by itself. The farewell may take 0.4 s more, and a busy machine is slow to begin."""

_LOOK_MS = 500
"""How often the parent is looked after where the kernel doesn't tell of its death."""


def exit_code(number: int) -> int:
    """0 for a polite request to end, 130 for Ctrl-C, as shells expect."""
    return 130 if number == signal.SIGINT else 0


class LastResort(threading.Thread):
    """Sees that the process ends, also where its main thread is deep in native code.

    Started with the worker: when the end comes there may be no memory for another thread.
    """

    def __init__(self, farewell: Callable[[], None]) -> None:
        super().__init__(name="last resort", daemon=True)
        self._farewell = farewell
        self._codes: queue.SimpleQueue[int] = queue.SimpleQueue()

    def begin(self, code: int) -> None:
        """The end has come: the loop has its time from now on."""
        self._codes.put(code)

    def run(self) -> None:
        """Wait for the end, and then for the loop."""
        code = self._codes.get()
        time.sleep(_LAST_RESORT_S)
        try:
            self._farewell()
        finally:
            os._exit(code)


class SignalWatch(Source):
    """Waits for signals, so that they arrive even while the main thread is deep in native code."""

    def __init__(self, inbox: Inbox, last_resort: LastResort) -> None:
        super().__init__("signals", inbox)
        self._last_resort = last_resort

    def watch(self) -> None:
        """The first signal goes to the loop; a second one, or a loop that doesn't end in time, ends the process."""
        first = signal.sigwait(SIGNALS)
        self._last_resort.begin(exit_code(first))
        self._inbox.put(SignalCame(first))
        os._exit(128 + signal.sigwait(SIGNALS))


class ParentWatch(Source):
    """Waits for the parent's death and for stdout's reader to go away."""

    def __init__(self, inbox: Inbox, stdout_fd: int, last_resort: LastResort) -> None:
        super().__init__("parent", inbox)
        self._stdout_fd, self._last_resort = stdout_fd, last_resort
        self._parent = PARENT

    def watch(self) -> None:
        """Report what comes first of the two, then be done."""
        event = self._wait()
        if event is not None:
            self._last_resort.begin(0)
            self._inbox.put(event)

    if sys.platform == "linux":

        def _wait(self) -> Event | None:
            poll = select.poll()
            poll.register(self._stdout_fd, 0)
            look_ms = None if self._is_watched(poll) else _LOOK_MS
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
