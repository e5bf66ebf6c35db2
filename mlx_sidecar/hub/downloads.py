"""The worker's side of downloads: one child process each, two at once; others wait."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

import msgspec

from mlx_sidecar.errors import KIND_OF_CODE, DownloadBusy, HubError, SidecarError
from mlx_sidecar.hub.messages import (
    CHILD_ARGUMENT,
    ChildRequest,
    DownloadProgress,
    DownloadRequest,
    Failed,
    Message,
    SizesRequest,
    decode_message,
    encode,
)

if TYPE_CHECKING:
    import subprocess

AT_ONCE = 2
_PACKAGE_ROOT = str(Path(__file__).resolve().parents[2])
_FROM_PYTHON: tuple[str, ...] = (
    sys.executable,
    "-c",
    # Not -m, which looks for modules in the working folder first.
    f"import sys; sys.path[:] = [p for p in sys.path if p] + [{_PACKAGE_ROOT!r}]\n"
    "from mlx_sidecar.hub.child import main; main()",
)
# A bundle's program looks for modules in the bundle only.
CHILD: tuple[str, ...] = (sys.executable, CHILD_ARGUMENT) if getattr(sys, "frozen", False) else _FROM_PYTHON

_MAX_LINE_BYTES = 1024 * 1024
"""A child's message takes some hundred bytes; quoted file names take a few thousand at most."""

OnOutput = Callable[[int, bytes], None]
"""Takes a download's number and a line of its child; an empty line is its end. Called on the download's thread."""


class Download:
    """One child process and its request, a download in most cases: waiting, running, or stopped."""

    def __init__(self, number: int, request: ChildRequest) -> None:
        self.number, self.request = number, request
        self.process: subprocess.Popen[bytes] | None = None
        self.latest: DownloadProgress | None = None
        self._messages: deque[Message] = deque()

    def take(self, line: bytes) -> None:
        """Take a line of the child."""
        if not line:
            self._messages.append(Failed(code="hub_error", message="the download's process ended; try again"))
            return
        try:
            message = decode_message(line)
        except msgspec.DecodeError:
            self._messages.append(Failed(code="internal", message="the download's process said something odd"))
            return
        if isinstance(message, DownloadProgress):
            self.latest = message
            # Only the latest progress counts.
            if self._messages and isinstance(self._messages[-1], DownloadProgress):
                self._messages.pop()
        self._messages.append(message)

    def next_message(self) -> Message | None:
        """The next message that wasn't taken."""
        return self._messages.popleft() if self._messages else None


class Downloads:
    """All downloads of this process."""

    def __init__(
        self, on_output: OnOutput, environment: Mapping[str, str], stall_s: float, child: Sequence[str] = CHILD
    ) -> None:
        self._on_output, self._environment, self._stall_s = on_output, dict(environment), stall_s
        self._child = child
        self._all: dict[int, Download] = {}
        self._next_number = 1

    def start(self, request: ChildRequest) -> Download:
        """Start a child, or queue its request. Raises DownloadBusy where the same download runs or waits."""
        if isinstance(request, DownloadRequest) and any(
            _is_same_place(other.request, request) for other in self._all.values()
        ):
            raise DownloadBusy(f"'{request.repo_id}' is being downloaded to the same place; wait for it or cancel it")
        download = Download(self._next_number, request)
        self._all[download.number] = download
        self._next_number += 1
        self._start_waiting()
        return download

    def find(self, number: int) -> Download | None:
        """The download with this number, unless it was stopped."""
        return self._all.get(number)

    def stop(self, download: Download) -> None:
        """Kill its child; what it received stays on the disk."""
        if self._all.pop(download.number, None) is None:
            return
        if download.process is not None:
            download.process.kill()
        self._start_waiting()

    @property
    def all(self) -> list[Download]:
        """All that run or wait, also those that only read headers."""
        return list(self._all.values())

    @property
    def fetching(self) -> list[Download]:
        """Downloads that run or wait."""
        return [download for download in self._all.values() if isinstance(download.request, DownloadRequest)]

    def _start_waiting(self) -> None:
        """Reading headers takes seconds and waits for no download."""
        reading = [download for download in self._all.values() if isinstance(download.request, SizesRequest)]
        for kind in (self.fetching, reading):
            running = sum(download.process is not None for download in kind)
            for download in kind:
                if download.process is None and running < AT_ONCE:
                    self._spawn(download)
                    running += 1

    def _spawn(self, download: Download) -> None:
        # lazy: start-up, and most workers never download.
        import subprocess

        try:
            download.process = subprocess.Popen(
                self._child,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=self._environment,
                bufsize=0,
                # Ctrl-C in a terminal reaches the worker only.
                start_new_session=True,
            )
            request = encode(msgspec.structs.replace(download.request, stall_s=self._stall_s))
            listening = (download.number, download.process, request)
            threading.Thread(target=self._listen, args=listening, daemon=True).start()
        except Exception as error:  # no process, no thread or no memory: the next download may get one
            message = f"the download's process can't be started ({error}); try again"
            self._on_output(download.number, encode(Failed(code="hub_error", message=message)).rstrip())
            return

    def _listen(self, number: int, process: subprocess.Popen[bytes], request: bytes) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            with process:
                # Its stdin stays open as long as this process lives (liveness pipe).
                with contextlib.suppress(OSError):
                    process.stdin.write(request)
                try:
                    for line in _lines(process.stdout):
                        self._on_output(number, line)
                finally:
                    # Whether it ended or its pipe failed: the download is over.
                    process.kill()
        finally:
            self._on_output(number, b"")


def _is_same_place(one: ChildRequest, other: DownloadRequest) -> bool:
    return isinstance(one, DownloadRequest) and (one.repo_id, one.destination) == (other.repo_id, other.destination)


def _lines(stream: IO[bytes]) -> Iterator[bytes]:
    """The child's lines. A line over the limit is the last, cut."""
    rest = b""
    while chunk := stream.read(65536):
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines
        if len(rest) > _MAX_LINE_BYTES:
            yield rest
            return


def error_of(failed: Failed) -> SidecarError:
    """The exception for a child's failure."""
    return KIND_OF_CODE.get(failed.code, HubError)(failed.message, failed.data)
