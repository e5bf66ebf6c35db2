"""The context of handlers, passed in by the worker."""

from __future__ import annotations

import time

from msgspec import Struct, field

from mlx_sidecar.engine import device
from mlx_sidecar.engine.engine import Engine
from mlx_sidecar.errors import SidecarError
from mlx_sidecar.hub.downloads import Downloads
from mlx_sidecar.protocol.responses import Limits

_LEAST_WINDOW_S = 0.1


class ProcessUsage:
    """CPU time and memory of the worker's process."""

    def __init__(self) -> None:
        self._sampled_at, self._cpu_s, self._percent = time.monotonic(), time.process_time(), 0.0

    def sample(self) -> tuple[float, int]:
        """Percent of one core since the last sample (0 for the first tenth of a second), and resident bytes."""
        passed_s = time.monotonic() - self._sampled_at
        # The kernel counts each thread's time for this, and over less than a moment it says nothing.
        if passed_s >= _LEAST_WINDOW_S:
            cpu_s = time.process_time()
            self._percent = round(100 * (cpu_s - self._cpu_s) / passed_s, 1)
            self._sampled_at, self._cpu_s = self._sampled_at + passed_s, cpu_s
        return self._percent, device.resident_memory()


class HandlerContext(Struct):
    """What all handlers may use."""

    engine: Engine
    downloads: Downloads
    limits: Limits
    process_usage: ProcessUsage = field(default_factory=ProcessUsage)
    started_at: float = field(default_factory=time.monotonic)
    startup_failure: SidecarError | None = None
    """Why the model of `--model` couldn't be loaded."""


class RequestInfo(Struct, frozen=True):
    """The number of a request, and when it was accepted (monotonic clock)."""

    number: int
    accepted_at: float
