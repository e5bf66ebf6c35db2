"""What handlers may use, passed in by the worker."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Protocol

from msgspec import Struct, field

from mlx_sidecar.engine import device
from mlx_sidecar.engine.engine import Engine
from mlx_sidecar.errors import SidecarError
from mlx_sidecar.hub.downloads import Downloads
from mlx_sidecar.protocol.requests import Id
from mlx_sidecar.protocol.responses import RequestStatus

DEMO_FOLDER = Path(__file__).resolve().parent.parent / "demo"
"""The embedded model's folder."""


class Board(Protocol):
    """What the worker knows of all requests together."""

    def cancel(self, target: Id | None, before: int) -> int:
        """End the request with this id, or without one all that came before the request with number `before`."""

    def requests(self) -> list[RequestStatus]:
        """All requests that aren't answered yet, in the order they came."""

    @property
    def tokens_per_s(self) -> float:
        """Tokens generated a second, over the last few seconds."""


class OwnProcess:
    """What the worker's process takes of the machine."""

    def __init__(self) -> None:
        self._looked_at, self._cpu_s = time.monotonic(), time.process_time()

    def use(self) -> tuple[float, int]:
        """Percent of one core since the last call (the first time: since the start), and resident bytes."""
        now, cpu_s = time.monotonic(), time.process_time()
        passed_s, used_s = now - self._looked_at, cpu_s - self._cpu_s
        self._looked_at, self._cpu_s = now, cpu_s
        return round(100 * used_s / passed_s, 1) if passed_s > 0 else 0.0, device.resident_memory()


class Services(Struct):
    """The collaborators of all handlers."""

    engine: Engine
    board: Board
    downloads: Downloads
    process: OwnProcess = field(default_factory=OwnProcess)
    started_at: float = field(default_factory=time.monotonic)
    startup_failure: SidecarError | None = None
    """Why the model that the worker was started with isn't there."""


class Call(Struct, frozen=True):
    """One request on its way to a handler: its number, and when it was accepted (monotonic clock)."""

    number: int
    accepted_at: float
