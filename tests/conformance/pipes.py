"""One worker process and its three pipes. Every wait is bounded and ends with the first thing that happens."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import IO

from .laws import Deviation

_PIECE_BYTES = 65536
_INSIST_S = 0.05
_PARENT = (sys.executable, "-c", "import subprocess, sys; subprocess.Popen(sys.argv[1:]).wait()")
"""A process between the runner and the worker, that can be killed."""


class NoWorker(Exception):
    """The command line starts nothing."""


class Silence(Deviation):
    """What was waited for didn't come."""


class Pipes:
    """A worker that runs. Writing reads as well, so neither side can block the other."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], has_parent: bool = False) -> None:
        self._has_parent = has_parent
        self._process = _started([*_PARENT, *command] if has_parent else command, environment, has_parent)
        self._selector = selectors.DefaultSelector()
        self._to_write = memoryview(b"")
        self._lines: deque[bytes] = deque()
        self._rest = b""
        self._stderr = bytearray()
        self._heard = [self._process.stdout, self._process.stderr]
        self.allow(0)
        for stream in (self._process.stdin, *self._heard):
            assert stream is not None
            os.set_blocking(stream.fileno(), False)
        for stream in self._heard:
            assert stream is not None
            self._selector.register(stream, selectors.EVENT_READ)

    @property
    def stderr(self) -> str:
        """What the worker has written to stderr so far."""
        return self._stderr.decode("utf-8", "replace")

    def allow(self, seconds: float) -> None:
        """Set how long all that follows may take together, from now on; until this is called again."""
        self._allowed_s, self._end = seconds, time.monotonic() + seconds

    def write(self, data: bytes) -> None:
        """Write all of it; what a worker that has gone doesn't take is lost."""
        stdin = self._process.stdin
        if stdin is None or stdin.closed or not data:
            return
        self._to_write = memoryview(data)
        self._selector.register(stdin, selectors.EVENT_WRITE)
        self._pump(lambda: not self._to_write, "the worker doesn't read its stdin")
        if not stdin.closed:
            self._selector.unregister(stdin)

    def next_line(self) -> bytes | None:
        """The next line without its LF; None at the end of stdout."""
        self._pump(lambda: bool(self._lines) or self._is_closed(self._process.stdout), "no line came")
        return self._lines.popleft() if self._lines else None

    def close(self, name: str) -> None:
        """Close stdin or stdout."""
        stream = self._process.stdin if name == "stdin" else self._process.stdout
        if stream is not None and not stream.closed:
            self._drop(stream)

    def ignore_stdout(self) -> None:
        """Leave it open and read it no more."""
        stdout = self._process.stdout
        if stdout is not None and not stdout.closed:
            self._selector.unregister(stdout)
        self._heard.remove(stdout)

    def signal(self, name: str) -> None:
        """Send the worker a signal, named without its SIG."""
        self._process.send_signal(signal.Signals[f"SIG{name}"])

    def insist(self, name: str) -> None:
        """Send it again and again, until the worker ends: two that come at the same moment count as one."""
        while self._process.poll() is None:
            if time.monotonic() >= self._end:
                raise Silence(f"the worker doesn't end on one SIG{name} after the other within {self._allowed_s:g} s")
            self.signal(name)
            self._move(_INSIST_S)

    def kill_parent(self) -> None:
        """Kill the process that started the worker. What remains of the worker isn't ours to wait for."""
        self._process.kill()
        self._process.wait()

    def wait(self) -> int:
        """The exit code as a shell tells it, once the worker has ended and closed what it writes to."""
        self._pump(lambda: all(self._is_closed(each) for each in self._heard), "the worker doesn't end")
        try:
            code = self._process.wait(max(0.01, self._end - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise Silence(f"the worker closed its pipes and doesn't end within {self._allowed_s:g} s") from None
        return code if code >= 0 else 128 - code

    def kill(self) -> None:
        """End the worker if it runs, and let go of everything."""
        if self._has_parent:
            _kill_group(self._process.pid)
        elif self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._selector.close()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()

    # Moving bytes

    def _pump(self, is_done: Callable[[], bool], otherwise: str) -> None:
        while not is_done():
            left_s = self._end - time.monotonic()
            if left_s <= 0:
                raise Silence(f"{otherwise} within {self._allowed_s:g} s")
            self._move(left_s)

    def _move(self, at_most_s: float) -> None:
        for key, _ in self._selector.select(at_most_s):
            stream: IO[bytes] = key.fileobj  # type: ignore[assignment]
            self._push(stream) if stream is self._process.stdin else self._pull(stream)

    def _push(self, stdin: IO[bytes]) -> None:
        try:
            self._to_write = self._to_write[os.write(stdin.fileno(), self._to_write[:_PIECE_BYTES]) :]
        except BrokenPipeError:
            self._to_write = memoryview(b"")
            self._drop(stdin)

    def _pull(self, stream: IO[bytes]) -> None:
        piece = os.read(stream.fileno(), _PIECE_BYTES)
        if stream is self._process.stderr:
            self._stderr += piece
        else:
            *lines, self._rest = (self._rest + piece).split(b"\n")
            self._lines.extend(lines)
        if not piece:
            self._drop(stream)
            if stream is self._process.stdout and self._rest:
                raise Deviation(f"stdout ends in a line without LF: {self._rest[:200]!r}")

    def _drop(self, stream: IO[bytes]) -> None:
        if stream in self._selector.get_map():
            self._selector.unregister(stream)
        stream.close()

    def _is_closed(self, stream: IO[bytes] | None) -> bool:
        return stream is None or stream.closed


def _started(command: Sequence[str], environment: Mapping[str, str], leads_a_group: bool) -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    try:
        return subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment, bufsize=0, start_new_session=leads_a_group
        )
    except (OSError, ValueError) as reason:
        raise NoWorker(f"can't start {' '.join(command)!r}: {reason}") from None


def _kill_group(number: int) -> None:
    """Whatever the process of that number has started, itself among them."""
    try:
        os.killpg(number, signal.SIGKILL)
    except ProcessLookupError:
        return
