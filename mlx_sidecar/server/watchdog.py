"""The end of the process where its main thread is blocked in native code and can't answer.

Of long unread lines the watchdog looks for command and id only: reading four of the longest took seconds.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable

from mlx_sidecar.errors import ShuttingDown
from mlx_sidecar.protocol.codec import Accepted, Address, Refused, address_of, decode
from mlx_sidecar.protocol.framing import Line
from mlx_sidecar.server.core import Core
from mlx_sidecar.server.events import Abandon
from mlx_sidecar.server.frontends.ndjson import NdjsonFrontEnd
from mlx_sidecar.server.io.queue import EventQueue
from mlx_sidecar.server.io.stdin import line_size
from mlx_sidecar.server.io.stdout import StdoutWriter

_LOOP_S = 1.5
"""How long the loop has to end by itself. The emergency may take 0.4 s more, and a busy machine is slow to begin."""
_LOCK_S = 0.1
"""How long each of two waits may be: for the output lock, and for the pipe to take the last lines."""
_READING_S = 0.2
"""How long looking at the lines that nobody has read may take."""
_SHORT_BYTES = 64 * 1024
"""A line up to this length is read like any other. A long one may take seconds; of that only the address is read."""


class EmergencyShutdown:
    """Answers every request in the loop's place. Called on another thread, once, just before the end of the process."""

    def __init__(
        self,
        events: EventQueue,
        core: Core,
        front_end: NdjsonFrontEnd,
        writer: StdoutWriter,
        output_lock: threading.Lock,
    ) -> None:
        self._events, self._core, self._front_end, self._writer = events, core, front_end, writer
        self._output_lock = output_lock

    def __call__(self) -> None:
        """Take the output lock and never release it. Text buffered for stop-string matching is lost."""
        if not self._output_lock.acquire(timeout=_LOCK_S):
            return
        self._refuse(self._events.take_lines())
        now = time.monotonic()
        self._front_end.write(self._core.handle(Abandon("the worker had to end in the middle of a step"), now), now)
        self._front_end.flush()
        self._writer.wait_until_written(_LOCK_S)

    def _refuse(self, lines: list[Line]) -> None:
        """Answer lines that nobody has read, in their order; short ones are read first."""
        closed = ShuttingDown("the worker is shutting down; start a new one")
        until, read = time.monotonic() + _READING_S, dict[int, Refused]()
        for index in sorted(range(len(lines)), key=lambda index: line_size(lines[index])):
            # Where the time is up the answer names nobody, but there is one.
            in_time = time.monotonic() < until
            read[index] = _as_refused(lines[index], closed) if in_time else Refused(Address(), closed)
        for index, line in enumerate(lines):
            opened = self._front_end.open(read[index], line_size(line))
            self._front_end.answer(opened.number, read[index].error)


def _as_refused(line: Line, why: ShuttingDown) -> Refused:
    if isinstance(line, bytes) and len(line) > _SHORT_BYTES:
        return Refused(address_of(line), why)
    read = decode(line)
    return Refused(read.address, why) if isinstance(read, Accepted) else read


class ShutdownWatchdog(threading.Thread):
    """Ends the process in time once its end has begun, whatever the main thread does.

    Started with the worker: when the end comes there may be no memory for another thread.
    """

    def __init__(self, emergency: Callable[[], None]) -> None:
        super().__init__(name="watchdog", daemon=True)
        self._emergency = emergency
        self._codes: queue.SimpleQueue[int] = queue.SimpleQueue()

    def begin(self, code: int) -> None:
        """The end has begun: the loop has its time from now on."""
        self._codes.put(code)

    def run(self) -> None:
        """Wait for the beginning of the end, and then for the loop."""
        code = self._codes.get()
        time.sleep(_LOOP_S)
        try:
            self._emergency()
        finally:
            os._exit(code)
