"""How a worker is started, and the steps by which it is ended: what both clients have in common about the process.

The worker leads a session of its own, so Ctrl-C is for the program, and what can't be ended politely is killed with
all that it started. A client that is forgotten kills its worker when it is collected, or at the interpreter's end.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from enum import Enum, auto
from pathlib import Path

from msgspec import Struct

from mlx_sidecar.client.failures import ClientClosed, WorkerNotStarted

READ_BYTES = 256 * 1024
LATE_S = 1.0
"""How much later than its `timeout_s` a call gives up by itself: the worker's own answer says more."""

LINGER_S = 0.5
"""How long a worker may live on after the end of its stdout."""

_TAIL_BYTES = 16 * 1024
_PACKAGE_ROOT = str(Path(__file__).resolve().parents[2])


def own_command() -> list[str]:
    """The worker of this very package. Not `-m`, which looks for modules in the working folder first."""
    if getattr(sys, "frozen", False):
        return [sys.executable]
    code = (
        f"import sys; sys.path[:] = [p for p in sys.path if p] + [{_PACKAGE_ROOT!r}]\n"
        "from mlx_sidecar.__main__ import main; main()"
    )
    return [sys.executable, "-c", code]


class Launch(Struct, frozen=True):
    """What to run; without an environment or a folder, those of this process."""

    command: Sequence[str]
    environment: Mapping[str, str] | None
    folder: str | None

    def not_started(self, problem: OSError) -> WorkerNotStarted:
        """The exception that says so."""
        what = problem.filename or self.command[0]
        return WorkerNotStarted(f"the worker can't be started: '{what}': {problem.strerror or problem}")


def launch(
    model: str | None,
    flags: Sequence[str],
    command: Sequence[str] | None,
    environment: Mapping[str, str] | None,
    folder: str | None,
) -> Launch:
    """From a client's arguments."""
    model_flags = ["--model", model] if model is not None else []
    return Launch([*(command or own_command()), *model_flags, *flags], environment, folder)


class Tail:
    """The end of what a worker wrote to stderr."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def add(self, chunk: bytes) -> None:
        """It wrote this."""
        self._bytes += chunk
        del self._bytes[:-_TAIL_BYTES]

    @property
    def text(self) -> str:
        """What is kept of it."""
        return bytes(self._bytes).decode("utf-8", "replace")


class Step(Enum):
    """The ways to end a worker, each ruder than the one before."""

    SHUTDOWN = auto()
    """It was asked to, and has its time."""
    END_OF_INPUT = auto()
    TERMINATE = auto()
    KILL = auto()


def steps(grace_s: float) -> tuple[tuple[Step, float], ...]:
    """Each step, and how many seconds to wait after it. The worker promises to obey TERM within two."""
    return ((Step.SHUTDOWN, grace_s + 1.0), (Step.END_OF_INPUT, 1.0), (Step.TERMINATE, 2.5), (Step.KILL, 5.0))


def kill_group(pid: int) -> None:
    """End a worker that leads its own session, and what it runs in there."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def closed() -> ClientClosed:
    """The exception for a call that comes too late."""
    return ClientClosed("the client was closed")
