"""When a worker that ended may be started again. Knows no process and no clock: it is told the time.

The next call starts a worker that ended, nothing starts one before it. Each of three consecutive crashes, with no
answer of the model in between, is raised in the call that caused the restart.
"""

from __future__ import annotations

from msgspec import Struct

from mlx_sidecar.client.failures import WorkerEnded, WorkerFailed


class Restarts(Struct, frozen=True):
    """How often in a row, and after which waits: `first_wait_s`, then `growth` times as long each time.

    A worker that lived for `steady_s`, or gave an answer of its model, begins a new row.
    """

    most: int = 3
    first_wait_s: float = 0.1
    growth: float = 4.0
    steady_s: float = 30.0


class Life:
    """The worker's starts and ends, one after the other."""

    def __init__(self, restarts: Restarts) -> None:
        self._restarts = restarts
        self._in_a_row = 0
        self._started_at = self._ended_at = 0.0
        self._last: WorkerEnded | None = None

    def started(self, now_s: float) -> None:
        """A process runs."""
        self._started_at = now_s

    def answered(self) -> None:
        """It did what it is there for."""
        self._in_a_row = 0

    def ended(self, now_s: float, how: WorkerEnded) -> None:
        """It is gone, and nobody wanted that."""
        self._in_a_row = 1 if now_s - self._started_at >= self._restarts.steady_s else self._in_a_row + 1
        self._ended_at, self._last = now_s, how

    def wait_s(self, now_s: float) -> float:
        """Seconds until it may be started. Raises WorkerFailed where it may not any more."""
        if self._last is None:
            return 0.0
        if self._in_a_row > self._restarts.most:
            raise WorkerFailed(self._in_a_row, self._last)
        wait_s = self._restarts.first_wait_s * self._restarts.growth ** (self._in_a_row - 1)
        return max(0.0, self._ended_at + wait_s - now_s)
