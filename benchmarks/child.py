"""A child process that is spoken to in lines of JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar

Line = dict[str, Any]
Self = TypeVar("Self", bound="Child")


def environment(preload: str | None) -> dict[str, str]:
    """This process's environment, with a BLAS to preload if there is one, and without the hub."""
    extra = {"LD_PRELOAD": preload, "OPENBLAS_NUM_THREADS": "1"} if preload else {}
    return {**os.environ, "HF_HUB_OFFLINE": "1", **extra}


class Child:
    """Owns a process; leaving the `with` block closes its stdin and waits for its end."""

    def __init__(self, command: Sequence[str], preload: str | None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment(preload),
        )

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is not None:
            self.process.kill()
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(timeout=30)

    def send(self, *requests: Mapping[str, Any]) -> None:
        """Write these requests at once."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"".join(json.dumps(request).encode() + b"\n" for request in requests))
        self.process.stdin.flush()

    def read(self) -> Line:
        """The next line. Raises EOFError where the process has ended, RuntimeError where it failed."""
        assert self.process.stdout is not None
        raw = self.process.stdout.readline()
        if not raw:
            raise EOFError("the process has ended")
        line: Line = json.loads(raw)
        if line.get("type") == "error" and line.get("code") != "cancelled":
            raise RuntimeError(f"{line}")
        return line

    def ask(self, request: Mapping[str, Any]) -> Line:
        """Send one request and give its last line."""
        self.send(request)
        while (line := self.read()).get("type") == "progress":
            pass
        return line
