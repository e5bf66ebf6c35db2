"""How far a download is, from the counts of all its threads."""

from __future__ import annotations

import threading
import time
from collections import deque

from mlx_sidecar.hub.messages import Advanced

_WINDOW_S = 5.0


class Meter:
    """Counts bytes; gives what to report. What is reported never goes back, whatever has to be fetched again."""

    def __init__(self, total_bytes: int = 0, files_total: int = 0, there_bytes: int = 0) -> None:
        """`there_bytes` are on the disk as it seems, and shown from the first report on."""
        self._total_bytes, self._files_total, self._shown = total_bytes, files_total, there_bytes
        self._lock = threading.Lock()
        self._there = self._files_done = self._events = 0
        self._file: str | None = None
        self._recent: deque[tuple[float, int]] = deque()
        self._heard_at = self._begun_at = time.monotonic()
        self.resumed_bytes = 0

    def found(self, count: int) -> None:
        """Bytes that were on the disk before; negative where they turn out to be others than the hub's."""
        with self._lock:
            self._there += count
            self.resumed_bytes += count
            self._hear()

    def made(self, count: int) -> None:
        """Bytes of a file that is a copy of another."""
        with self._lock:
            self._there += count
            self._hear()

    def received(self, count: int, file: str) -> None:
        """Bytes that came over the network."""
        now = time.monotonic()
        with self._lock:
            self._there += count
            self._file = file
            self._hear()
            self._recent.append((now, count))
            while self._recent[0][0] < now - _WINDOW_S:
                self._recent.popleft()

    def lost(self, count: int) -> None:
        """Bytes that came over the network and turned out to be worth nothing."""
        with self._lock:
            self._there -= count

    def file_done(self) -> None:
        """One more file is verified."""
        with self._lock:
            self._files_done += 1
            self._hear()

    def _hear(self) -> None:
        self._heard_at = time.monotonic()
        self._events += 1

    @property
    def events(self) -> int:
        """Changes when anything happens, also where what is shown stays."""
        return self._events

    @property
    def left_bytes(self) -> int:
        """What is still to come."""
        return max(0, self._total_bytes - self._there)

    def report(self) -> Advanced:
        """How far it is."""
        now = time.monotonic()
        with self._lock:
            self._shown = min(max(self._shown, self._there), self._total_bytes)
            recent = sum(count for at, count in self._recent if at >= now - _WINDOW_S)
            speed = recent / max(min(_WINDOW_S, now - self._begun_at), 0.1)
            return Advanced(
                downloaded_bytes=self._shown,
                total_bytes=self._total_bytes,
                bytes_per_s=round(speed, 1),
                eta_s=round(self.left_bytes / speed, 1) if speed > 0 else None,
                file=self._file,
                files_done=self._files_done,
                files_total=self._files_total,
                stalled_s=round(now - self._heard_at, 1) if now - self._heard_at >= 1 else 0.0,
            )
