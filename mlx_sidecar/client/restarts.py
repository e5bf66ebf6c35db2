"""When a worker that ended may be started again. Knows no process and no clock: callers pass the time.

The next call restarts a worker that ended; nothing restarts it earlier. Each of three consecutive crashes, with no
answer of the model in between, is raised in the call that caused the restart.
"""

from __future__ import annotations

from msgspec import Struct

from mlx_sidecar.client.failures import WorkerEnded, WorkerFailed


class Restarts(Struct, frozen=True):
    """How many consecutive restarts, and the waits before them: `first_wait_s`, then `growth` times as long each time.

    A worker that lived for `steady_s`, or answered with its model, resets the count.
    """

    most: int = 3
    first_wait_s: float = 0.1
    growth: float = 4.0
    steady_s: float = 30.0


class RestartState:
    """Counts consecutive ends of the worker, and says how long to wait before the next start."""

    def __init__(self, restarts: Restarts) -> None:
        self._restarts = restarts
        self._consecutive = 0
        self._started_at = self._ended_at = 0.0
        self._last: WorkerEnded | None = None

    def started(self, now_s: float) -> None:
        """Note that a process started."""
        self._started_at = now_s

    def answered(self) -> None:
        """Note an answer of the model, which resets the count."""
        self._consecutive = 0

    def ended(self, now_s: float, how: WorkerEnded) -> None:
        """Note that the worker ended unasked."""
        self._consecutive = 1 if now_s - self._started_at >= self._restarts.steady_s else self._consecutive + 1
        self._ended_at, self._last = now_s, how

    def wait_s(self, now_s: float) -> float:
        """Seconds until the next start. Raises WorkerFailed after too many consecutive ends."""
        if self._last is None:
            return 0.0
        if self._consecutive > self._restarts.most:
            raise WorkerFailed(self._consecutive, self._last)
        wait_s = self._restarts.first_wait_s * self._restarts.growth ** (self._consecutive - 1)
        return max(0.0, self._ended_at + wait_s - now_s)
