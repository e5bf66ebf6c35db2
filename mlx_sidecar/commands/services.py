"""What handlers may use, passed in by the worker."""

from __future__ import annotations

import time

from msgspec import Struct, field

from mlx_sidecar.engine import device
from mlx_sidecar.engine.engine import Engine
from mlx_sidecar.errors import SidecarError
from mlx_sidecar.hub.downloads import Downloads

_LEAST_WINDOW_S = 0.1


class OwnProcess:
    """What the worker's process takes of the machine."""

    def __init__(self) -> None:
        self._looked_at, self._cpu_s, self._percent = time.monotonic(), time.process_time(), 0.0

    def use(self) -> tuple[float, int]:
        """Percent of one core since the last look (0 until there is one to speak of), and resident bytes."""
        passed_s = time.monotonic() - self._looked_at
        # The kernel counts each thread's time for this, and over less than a moment it says nothing.
        if passed_s >= _LEAST_WINDOW_S:
            cpu_s = time.process_time()
            self._percent = round(100 * (cpu_s - self._cpu_s) / passed_s, 1)
            self._looked_at, self._cpu_s = self._looked_at + passed_s, cpu_s
        return self._percent, device.resident_memory()


class Services(Struct):
    """The collaborators of all handlers."""

    engine: Engine
    downloads: Downloads
    process: OwnProcess = field(default_factory=OwnProcess)
    started_at: float = field(default_factory=time.monotonic)
    startup_failure: SidecarError | None = None
    """Why the model that the worker was started with isn't there."""


class Call(Struct, frozen=True):
    """One request on its way to a handler: its number, and when it was accepted (monotonic clock)."""

    number: int
    accepted_at: float
