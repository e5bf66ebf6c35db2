"""Runs commands for people: over pipes, or with a terminal of their own."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.worker import DEADLINE_S, environment

COMMAND = str(Path(sys.executable).with_name("mlx-sidecar"))
Done = subprocess.CompletedProcess[str]


def run(
    *arguments: str, stdin: bytes = b"", env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """`mlx-sidecar` with these arguments, to its end."""
    done = subprocess.run(
        [COMMAND, *arguments],
        input=stdin,
        capture_output=True,
        timeout=DEADLINE_S,
        env=environment(**(env or {})),
        cwd=cwd,
        check=False,
    )
    return Done(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


class Terminal:
    """A command whose stdin, stdout and stderr are a terminal, which leads its own session as a shell's job would."""

    def __init__(self, arguments: Sequence[str], cwd: Path | None = None) -> None:
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            if cwd is not None:
                os.chdir(cwd)
            os.execve(COMMAND, [COMMAND, *arguments], environment(TERM="xterm", COLUMNS="120"))
        self.shown = ""

    def type(self, keys: bytes) -> None:
        """The person types this."""
        os.write(self._fd, keys)

    def read_until(self, words: str) -> None:
        """Until this is on the screen."""
        end = time.monotonic() + DEADLINE_S
        while words not in self.shown:
            assert self._read(end), f"{words!r} never came: {self.shown!r}"

    def finish(self) -> int:
        """Read to the end; gives the exit code."""
        end = time.monotonic() + DEADLINE_S
        while self._read(end):
            pass
        _, status = os.waitpid(self.pid, 0)
        os.close(self._fd)
        return os.waitstatus_to_exitcode(status)

    def _read(self, end: float) -> bool:
        if not select.select([self._fd], [], [], max(0.0, end - time.monotonic()))[0]:
            raise AssertionError(f"nothing comes any more: {self.shown!r}")
        try:
            chunk = os.read(self._fd, 65536)
        except OSError:
            # How Linux says that nobody has the other end any more.
            return False
        self.shown += chunk.decode("utf-8", "replace").replace("\r\n", "\n")
        return bool(chunk)
