"""Signals: a thread waits for them, so that they arrive even while the main thread is deep in native code.

All threads block signals and one takes them by `sigwait`: no handler runs in the middle of anything (2026-11-21).
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from mlx_sidecar.server.early_init import SIGNALS
from mlx_sidecar.server.events import SignalReceived
from mlx_sidecar.server.io.queue import EventQueue, WatcherThread


class SignalWatcher(WatcherThread):
    """Waits for signals in the kernel."""

    def __init__(self, events: EventQueue, begin_shutdown: Callable[[int], None]) -> None:
        super().__init__("signals", events)
        self._begin_shutdown = begin_shutdown

    def watch(self) -> None:
        """The first signal goes to the loop; a second one ends the process."""
        first = SignalReceived(signal.sigwait(SIGNALS))
        self._begin_shutdown(first.exit_code)
        self._events.put(first)
        os._exit(128 + signal.sigwait(SIGNALS))
