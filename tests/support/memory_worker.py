"""A worker without process, threads or pipes: the real core, front end, handlers, tasks and engine on this thread."""

from __future__ import annotations

import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from mlx_sidecar.commands.context import HandlerContext
from mlx_sidecar.engine.engine import Engine
from mlx_sidecar.hub.downloads import Downloads
from mlx_sidecar.protocol.framing import LineSplitter
from mlx_sidecar.server.core import Core
from mlx_sidecar.server.events import (
    DownloadOutput,
    InputEnded,
    LineReceived,
    OutputClosed,
    ParentDied,
    SignalReceived,
)
from mlx_sidecar.server.frontends.ndjson import NdjsonFrontEnd
from mlx_sidecar.server.io.log import Log
from mlx_sidecar.server.io.queue import EventQueue
from mlx_sidecar.server.loop import Loop
from mlx_sidecar.server.settings import parse_settings
from mlx_sidecar.server.task_runner import TaskRunner
from tests.conformance.pipes import Silence


class MemoryLog(Log):
    """Keeps what would go to stderr."""

    def __init__(self) -> None:
        super().__init__("warning", -1)
        self.text = ""

    def write(self, level: str, message: str, problem: BaseException | None = None) -> None:
        """Keep a line of the log."""
        if self.wants(level):
            self.text += f"{message} {problem or ''}\n"


class MemoryWriter:
    """Keeps lines until they are read."""

    def __init__(self) -> None:
        self.lines: deque[bytes] = deque()
        self._buffer: list[tuple[bytes, Callable[[], None] | None]] = []

    def write(self, line: bytes, when_written: Callable[[], None] | None = None) -> None:
        """Take a line for the next flush."""
        self._buffer.append((line, when_written))

    def flush(self) -> None:
        """Flush buffered lines."""
        buffered, self._buffer = self._buffer, []
        for line, when_written in buffered:
            self.lines.extend(line.splitlines())
            if when_written is not None:
                when_written()


class MemoryWorker:
    """A connection as conformance plays on it. `engine` may have a model already, and is left as it is then."""

    def __init__(self, flags: Sequence[str], environment: Mapping[str, str], engine: Engine | None = None) -> None:
        settings = parse_settings(flags, environment)
        self._events, self._splitter = EventQueue(), LineSplitter(settings.max_line_bytes)
        self._writer, self._log = MemoryWriter(), MemoryLog()
        self._engine = engine or Engine(max_rows=settings.max_concurrency, prefix_cache_bytes=2**20)
        self._core = Core(self._engine, settings.max_concurrency)
        self._context = HandlerContext(
            self._engine,
            Downloads(lambda number, line: self._events.put(DownloadOutput(number, line)), environment, 1.0),
            settings.limits,
        )
        runner = TaskRunner(self._context, self._events.put, self._log)
        front_end = NdjsonFrontEnd(self._writer, lambda _: None)
        self._loop = Loop(self._events, self._core, front_end, threading.Lock(), runner, self._engine, self._log)
        if engine is None and settings.startup_request is not None:
            self._loop.load_at_start(settings.startup_request)
        self._end = 0.0

    @property
    def stderr(self) -> str:
        """What the log has."""
        return self._log.text

    def allow(self, seconds: float) -> None:
        """Set how long all that follows may take together."""
        self._end = time.monotonic() + seconds

    def write(self, data: bytes) -> None:
        """As if it came on stdin."""
        for line in self._splitter.feed(data):
            self._events.put(LineReceived(line))

    def close(self, name: str) -> None:
        """Close stdin or stdout."""
        if name == "stdin":
            for line in self._splitter.close():
                self._events.put(LineReceived(line))
        self._events.put(InputEnded() if name == "stdin" else OutputClosed())

    def next_line(self) -> bytes | None:
        """The next line; None when the worker has ended."""
        while not self._writer.lines:
            if self._core.exit is not None:
                return None
            self._iterate()
        return self._writer.lines.popleft()

    def wait(self) -> int:
        """The exit code, once the worker has ended."""
        while (end := self._core.exit) is None:
            self._iterate()
        return end.code

    def _iterate(self) -> None:
        if time.monotonic() > self._end:
            raise Silence("no line came")
        self._loop.iterate(max_wait_s=max(0.0, self._end - time.monotonic()))

    def signal(self, name: str) -> None:
        """As if it came from outside."""
        self._events.put(SignalReceived(signal.Signals[f"SIG{name}"]))

    def kill_parent(self) -> None:
        """As if the parent had died."""
        self._events.put(ParentDied())

    def insist(self, name: str) -> None:
        """A second signal ends a process, and there is none."""
        raise NotImplementedError

    def ignore_stdout(self) -> None:
        """Whoever doesn't read leaves the lines where they are, and there is no bound."""
        raise NotImplementedError

    def kill(self) -> None:
        """Stop what runs; the model stays."""
        for download in self._context.downloads.all:
            self._context.downloads.stop(download)
        self._engine.give_up()
