"""The client's own errors: the worker didn't start, ended, or violated the protocol.

A worker's error line is raised as a class of `mlx_sidecar.errors`.
"""

from __future__ import annotations

from typing import Any, ClassVar

from mlx_sidecar.errors import KIND_OF_CODE, Internal, SidecarError

_SHOWN_CHARS = 300


class ClientError(Exception):
    """A call failed without an answer of the worker. Has the attributes of a `SidecarError`."""

    code: ClassVar[str]
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, data: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.data = data or {}


class WorkerNotStarted(ClientError):
    """The command can't be run."""

    code = "worker_not_started"


class WorkerEnded(ClientError):
    """The worker's process ended before it had answered; the next call starts another one."""

    code = "worker_ended"
    retryable = True

    def __init__(self, exit_code: int | None, stderr_tail: str, broken: str | None = None) -> None:
        """`exit_code` is negative for a signal, as in `subprocess`; `broken` is output that violated the protocol."""
        self.exit_code, self.stderr_tail, self.broken = exit_code, stderr_tail, broken
        data = {"exit_code": exit_code, "stderr_tail": stderr_tail}
        super().__init__(_exit_message(exit_code, stderr_tail, broken), data)


class WorkerFailed(ClientError):
    """The worker ended too often in a row and isn't restarted; make a new client to try again."""

    # The same code as in the TypeScript client: to a program both mean that there is no worker.
    code = "worker_not_started"

    def __init__(self, times: int, last: WorkerEnded) -> None:
        self.times, self.last = times, last
        super().__init__(f"the worker ended {times} times in a row and isn't started again: {last.message}", last.data)


class ClientClosed(ClientError):
    """The client was closed."""

    code = "client_closed"


def failure(code: str, message: str, retryable: bool, data: dict[str, Any]) -> SidecarError:
    """The exception for an error line. A code of a later version is a subclass of `Internal`."""
    kind = KIND_OF_CODE.get(code)
    if kind is None:
        kind = type("Unfamiliar", (Internal,), {"code": code, "retryable": retryable})
    return kind(message, data)


def _exit_message(exit_code: int | None, stderr_tail: str, broken: str | None) -> str:
    if broken is not None:
        return f"the worker said something that is no line of the protocol, and was ended: {broken}"
    how = "ended"
    if exit_code is not None:
        how = f"was killed by signal {-exit_code}" if exit_code < 0 else f"ended with exit code {exit_code}"
    lines = stderr_tail.split("\n")
    last = next((line for line in reversed(lines) if line.strip()), "")
    return f"the worker {how}; it said last: {last[:_SHOWN_CHARS]}" if last else f"the worker {how}"
