"""Puts the real parts of the worker together, runs it, and ends the process with its exit code."""

from __future__ import annotations

import math
import os
import sys
import threading
import time
from typing import NoReturn

from mlx_sidecar.commands.context import HandlerContext
from mlx_sidecar.engine.engine import Engine
from mlx_sidecar.hub.downloads import Downloads
from mlx_sidecar.server.core import Core
from mlx_sidecar.server.effects import Exit
from mlx_sidecar.server.events import (
    DownloadOutput,
    OutputClosed,
    OutputWritten,
    ParentDied,
    SignalReceived,
    ThreadFailed,
)
from mlx_sidecar.server.frontends.ndjson import NdjsonFrontEnd
from mlx_sidecar.server.io.log import Log
from mlx_sidecar.server.io.parent import ParentWatcher
from mlx_sidecar.server.io.queue import EventQueue
from mlx_sidecar.server.io.redirect import Pipes, redirect_stdio
from mlx_sidecar.server.io.signals import SignalWatcher
from mlx_sidecar.server.io.stdin import Admission, StdinReader
from mlx_sidecar.server.io.stdout import StdoutWriter
from mlx_sidecar.server.loop import Loop
from mlx_sidecar.server.settings import Settings, parse_settings
from mlx_sidecar.server.task_runner import TaskRunner
from mlx_sidecar.server.watchdog import EmergencyShutdown, ShutdownWatchdog

_MAX_HELD_LINES = 4
"""How many of the longest lines may be in the worker at once; shorter ones up to --max-queue."""

_STDOUT_TIMEOUT_S = 1.5
"""How long an ending that can't wait gives stdout's reader to take the last lines."""


_HINT = """\
mlx-sidecar reads lines of JSON here and answers them, such as {"command":"check-availability"}; Ctrl-D ends it.
For people there are mlx-sidecar tags, summarize, classify, generate, download, doctor and more: mlx-sidecar --help.
"""
"""For who starts a worker at a terminal and would wait for ever."""


def run() -> NoReturn:
    """Run the worker until its end, and end the process. Signals are blocked already."""
    if not sys.argv[1:] and os.isatty(0):
        sys.stderr.write(_HINT)
    settings = parse_settings(sys.argv[1:], os.environ)
    pipes = redirect_stdio()
    log, code = Log(settings.log_level, pipes.stderr), 1
    try:
        code = _work(settings, pipes, log)
    except BaseException as error:
        log.write("critical", "a bug ended the worker", error)
    log.close(timeout_s=0.2)
    # Not sys.exit: threads that wait for a pipe mustn't keep the process, and nothing is left to tidy up.
    os._exit(code)


def _work(settings: Settings, pipes: Pipes, log: Log) -> int:
    events = EventQueue()
    admission = Admission(settings.max_queue, _MAX_HELD_LINES * settings.max_line_bytes)
    writer = StdoutWriter(pipes.stdout, events)
    writer.start()
    engine = Engine(
        max_rows=settings.max_concurrency,
        prefix_cache_bytes=settings.prefix_cache_bytes,
        memory_limit_bytes=settings.memory_limit_bytes,
    )
    core, front_end, output_lock = (
        Core(engine, settings.max_concurrency),
        NdjsonFrontEnd(writer, admission.leave),
        threading.Lock(),
    )
    watchdog = ShutdownWatchdog(EmergencyShutdown(events, core, front_end, writer, output_lock))
    watchdog.start()
    SignalWatcher(events, watchdog.begin).start()
    ParentWatcher(events, pipes.stdout, watchdog.begin).start()
    # The environment as it is now: loading a model forbids this process the hub.
    downloads = Downloads(
        lambda number, line: events.put(DownloadOutput(number, line)), os.environ, settings.download_stall_s
    )
    task_runner = TaskRunner(HandlerContext(engine, downloads, settings.limits), events.put, log)
    loop = Loop(events, core, front_end, output_lock, task_runner, engine, log)
    if settings.startup_request is not None:
        loop.load_at_start(settings.startup_request)
    StdinReader(pipes.stdin, events, admission, settings.max_line_bytes).start()
    end = loop.run()
    writer.close()
    code = _wait_for_writer(events, end)
    if writer.failure:
        log.write("critical", f"stdout can't be written: {writer.failure}; what wasn't is lost")
        return 1
    return code


def _wait_for_writer(events: EventQueue, end: Exit) -> int:
    """Until stdout has everything, or nobody is there to read it, or the time is up; gives the exit code.

    A signal that comes now ends no request any more. It says how long the reader may take from then on.
    """
    code, deadline = end.code, math.inf if end.may_wait else time.monotonic() + _STDOUT_TIMEOUT_S
    while (left := deadline - time.monotonic()) > 0:
        events.fetch(wait=True, timeout_s=None if left == math.inf else left)
        while (event := events.peek()) is not None:
            events.pop()
            match event:
                case SignalReceived():
                    code, deadline = event.exit_code, min(deadline, time.monotonic() + _STDOUT_TIMEOUT_S)
                case OutputWritten() | OutputClosed() | ParentDied():
                    return code
                case ThreadFailed():
                    return 1
                case _:
                    pass
    return code
