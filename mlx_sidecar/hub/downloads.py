"""The worker's side of downloads: a child process each, at most two at once, the others wait for their turn."""

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
from mlx_sidecar.hub.messages import CHILD_ARGUMENT, Advanced, Failed, Message, Order, decode_message, encode

if TYPE_CHECKING:
    import subprocess

AT_ONCE = 2
_PACKAGE_ROOT = str(Path(__file__).resolve().parents[2])
_FROM_PYTHON: tuple[str, ...] = (
    sys.executable,
    "-c",
    # Not -m, which looks for modules in the working folder first: somebody's downloads, perhaps.
    f"import sys; sys.path[:] = [p for p in sys.path if p] + [{_PACKAGE_ROOT!r}]\n"
    "from mlx_sidecar.hub.child import main; main()",
)
# A bundle's program looks for modules in the bundle only.
CHILD: tuple[str, ...] = (sys.executable, CHILD_ARGUMENT) if getattr(sys, "frozen", False) else _FROM_PYTHON

_LONGEST_LINE = 1024 * 1024
"""Bytes. What a child says takes some hundred, and names of files that are quoted at most some thousand."""

Said = Callable[[int, bytes], None]
"""Takes a download's number and a line of its child; an empty one is its end. Called on a thread of its own."""


class Download:
    """One download: waiting, running, or stopped."""

    def __init__(self, number: int, order: Order) -> None:
        self.number, self.order = number, order
        self.process: subprocess.Popen[bytes] | None = None
        self.latest: Advanced | None = None
        self._messages: deque[Message] = deque()

    def take(self, line: bytes) -> None:
        """The child said this."""
        if not line:
            self._messages.append(Failed(code="hub_error", message="the download's process ended; try again"))
            return
        try:
            message = decode_message(line)
        except msgspec.DecodeError:
            self._messages.append(Failed(code="internal", message="the download's process said something odd"))
            return
        if isinstance(message, Advanced):
            self.latest = message
            # Only the latest counts: nobody wants to hear how far it was.
            if self._messages and isinstance(self._messages[-1], Advanced):
                self._messages.pop()
        self._messages.append(message)

    def next_message(self) -> Message | None:
        """What it said and nobody has heard yet."""
        return self._messages.popleft() if self._messages else None


class Downloads:
    """All downloads of this process."""

    def __init__(
        self, said: Said, environment: Mapping[str, str], stall_s: float, child: Sequence[str] = CHILD
    ) -> None:
        self._said, self._environment, self._stall_s = said, dict(environment), stall_s
        self._child = child
        self._all: dict[int, Download] = {}
        self._next_number = 1

    def start(self, order: Order) -> Download:
        """Begin, or wait for a place. Raises DownloadBusy where the same goes to the same place already."""
        for other in self._all.values():
            if (other.order.repo_id, other.order.destination) == (order.repo_id, order.destination):
                raise DownloadBusy(f"'{order.repo_id}' is being downloaded to the same place; wait for it or cancel it")
        download = Download(self._next_number, order)
        self._all[download.number] = download
        self._next_number += 1
        self._start_waiting()
        return download

    def find(self, number: int) -> Download | None:
        """The download of this number, if it isn't stopped."""
        return self._all.get(number)

    def stop(self, download: Download) -> None:
        """End it, whatever it is doing; what came is on the disk."""
        if self._all.pop(download.number, None) is None:
            return
        if download.process is not None:
            download.process.kill()
        self._start_waiting()

    @property
    def all(self) -> list[Download]:
        """Those that run or wait."""
        return list(self._all.values())

    def _start_waiting(self) -> None:
        running = sum(download.process is not None for download in self._all.values())
        for download in self._all.values():
            if download.process is None and running < AT_ONCE:
                self._spawn(download)
                running += 1

    def _spawn(self, download: Download) -> None:
        # Not at the top: every start would wait for it, and most workers never download.
        import subprocess

        try:
            download.process = subprocess.Popen(
                self._child,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=self._environment,
                bufsize=0,
                # Ctrl-C in a terminal is for the one who started it.
                start_new_session=True,
            )
            order = encode(msgspec.structs.replace(download.order, stall_s=self._stall_s))
            listening = (download.number, download.process, order)
            threading.Thread(target=self._listen, args=listening, daemon=True).start()
        except Exception as problem:  # no process, no thread, no memory: the next one may have it
            message = f"the download's process can't be started ({problem}); try again"
            self._said(download.number, encode(Failed(code="hub_error", message=message)).rstrip())
            return

    def _listen(self, number: int, process: subprocess.Popen[bytes], order: bytes) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            with process:
                # Its stdin stays open as long as this process lives: by its end the child knows.
                with contextlib.suppress(OSError):
                    process.stdin.write(order)
                try:
                    for line in _lines(process.stdout):
                        self._said(number, line)
                finally:
                    # Whether it ended, or can't be heard any more: the download is over.
                    process.kill()
        finally:
            self._said(number, b"")


def _lines(stream: IO[bytes]) -> Iterator[bytes]:
    """Its lines. The last one is what has come of one that is longer than any that a child says."""
    rest = b""
    while chunk := stream.read(65536):
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines
        if len(rest) > _LONGEST_LINE:
            yield rest
            return


def error_of(failed: Failed) -> SidecarError:
    """The exception that stands for a child's failure."""
    return KIND_OF_CODE.get(failed.code, HubError)(failed.message, failed.data)
