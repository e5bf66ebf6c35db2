"""One worker process and its three pipes. Every wait has a deadline and ends with the first thing that happens."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import IO

from .laws import Deviation

_PIECE_BYTES = 65536


class Pipes:
    """A worker that runs. Writing reads as well, so neither side can block the other."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], deadline_s: float) -> None:
        self._deadline_s = deadline_s
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment, bufsize=0)
        self._selector = selectors.DefaultSelector()
        self._to_write = memoryview(b"")
        self._lines: deque[bytes] = deque()
        self._rest = b""
        self._stderr = bytearray()
        for stream, event in (
            (self._process.stdin, selectors.EVENT_WRITE),
            (self._process.stdout, selectors.EVENT_READ),
            (self._process.stderr, selectors.EVENT_READ),
        ):
            assert stream is not None
            os.set_blocking(stream.fileno(), False)
            if event == selectors.EVENT_READ:
                self._selector.register(stream, event)

    @property
    def stderr(self) -> str:
        """What the worker has written to stderr so far."""
        return self._stderr.decode("utf-8", "replace")

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

    def signal(self, name: str) -> None:
        """Send the worker a signal, named without its SIG."""
        self._process.send_signal(signal.Signals[f"SIG{name}"])

    def wait(self) -> int:
        """The exit code, once the worker has ended and closed what it writes to."""
        streams = (self._process.stdout, self._process.stderr)
        self._pump(lambda: all(self._is_closed(each) for each in streams), "the worker doesn't end")
        try:
            return self._process.wait(self._deadline_s)
        except subprocess.TimeoutExpired:
            raise Deviation("the worker closed its pipes and doesn't end") from None

    def kill(self) -> None:
        """End the worker if it runs, and let go of everything."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._selector.close()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()

    # Moving bytes

    def _pump(self, is_done: Callable[[], bool], otherwise: str) -> None:
        end = time.monotonic() + self._deadline_s
        while not is_done():
            ready = self._selector.select(max(0.0, end - time.monotonic()))
            if not ready and time.monotonic() >= end:
                raise Deviation(f"{otherwise} within {self._deadline_s:g} s")
            for key, _ in ready:
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
