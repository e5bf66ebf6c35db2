"""Starting a worker and ending it, for both clients.

The worker leads a process group of its own, so Ctrl-C reaches the program only, and SIGKILL reaches all that the
worker started. A client that is dropped kills its worker when it is collected, or when the interpreter ends.
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
"""How much later than `timeout_s` the client gives up by itself: the worker's own `timeout` says more."""

LINGER_S = 0.5
"""How long a worker may run after the end of its stdout."""

_TAIL_BYTES = 16 * 1024
_PACKAGE_ROOT = str(Path(__file__).resolve().parents[2])


def own_command() -> list[str]:
    """The command line of this package's worker. Not `-m`, which looks for modules in the working folder first."""
    if getattr(sys, "frozen", False):
        return [sys.executable]
    code = (
        f"import sys; sys.path[:] = [p for p in sys.path if p] + [{_PACKAGE_ROOT!r}]\n"
        "from mlx_sidecar.__main__ import main; main()"
    )
    return [sys.executable, "-c", code]


class Launch(Struct, frozen=True):
    """What to run; None for the environment or folder of this process."""

    command: Sequence[str]
    environment: Mapping[str, str] | None
    folder: str | None

    def not_started(self, error: OSError) -> WorkerNotStarted:
        """The exception for a process that couldn't be started."""
        what = error.filename or self.command[0]
        return WorkerNotStarted(f"the worker can't be started: '{what}': {error.strerror or error}")


def launch(
    model: str | None,
    flags: Sequence[str],
    command: Sequence[str] | None,
    environment: Mapping[str, str] | None,
    folder: str | None,
) -> Launch:
    """The launch for a client's arguments."""
    model_flags = ["--model", model] if model is not None else []
    return Launch([*(command or own_command()), *model_flags, *flags], environment, folder)


class Tail:
    """The end of what a worker wrote to stderr."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def add(self, chunk: bytes) -> None:
        """Add what the worker wrote."""
        self._bytes += chunk
        del self._bytes[:-_TAIL_BYTES]

    @property
    def text(self) -> str:
        """The last 16 KiB as text."""
        return bytes(self._bytes).decode("utf-8", "replace")


class ShutdownStep(Enum):
    """The escalation that ends a worker."""

    SHUTDOWN = auto()
    """It has the request `shutdown`, and time to answer it."""
    END_OF_INPUT = auto()
    TERMINATE = auto()
    KILL = auto()


def shutdown_steps(grace_s: float) -> tuple[tuple[ShutdownStep, float], ...]:
    """Each step, and the seconds to wait after it. The worker obeys TERM within two (§5.8)."""
    return (
        (ShutdownStep.SHUTDOWN, grace_s + 1.0),
        (ShutdownStep.END_OF_INPUT, 1.0),
        (ShutdownStep.TERMINATE, 2.5),
        (ShutdownStep.KILL, 5.0),
    )


def kill_group(pid: int) -> None:
    """Kill a worker's process group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def closed() -> ClientClosed:
    """The exception for a call after `close`."""
    return ClientClosed("the client was closed")
