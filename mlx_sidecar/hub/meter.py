"""Thread-safe progress of a download."""

from __future__ import annotations

import threading
import time
from collections import deque

from mlx_sidecar.hub.messages import DownloadProgress

_WINDOW_S = 5.0


class Meter:
    """Counts bytes and files. Reported progress never goes back, also where bytes must be fetched again."""

    def __init__(self, total_bytes: int = 0, files_total: int = 0, existing_bytes: int = 0) -> None:
        """`existing_bytes` are on the disk by their sizes; the first report counts them."""
        self._total_bytes, self._files_total, self._shown = total_bytes, files_total, existing_bytes
        self._lock = threading.Lock()
        self._have_bytes = self._files_done = self._events = 0
        self._file: str | None = None
        self._recent: deque[tuple[float, int]] = deque()
        self._last_event_at = self._begun_at = time.monotonic()
        self.resumed_bytes = 0

    def add_existing(self, count: int) -> None:
        """Count bytes that were on the disk before; negative where they turn out to be wrong."""
        with self._lock:
            self._have_bytes += count
            self.resumed_bytes += count
            self._note_event()

    def add_copied(self, count: int) -> None:
        """Count bytes of a file that is a copy of another."""
        with self._lock:
            self._have_bytes += count
            self._note_event()

    def add_received(self, count: int, file: str) -> None:
        """Count bytes from the network."""
        now = time.monotonic()
        with self._lock:
            self._have_bytes += count
            self._file = file
            self._note_event()
            self._recent.append((now, count))
            while self._recent[0][0] < now - _WINDOW_S:
                self._recent.popleft()

    def discard(self, count: int) -> None:
        """Take back bytes from the network that turned out to be wrong."""
        with self._lock:
            self._have_bytes -= count

    def file_done(self) -> None:
        """One more file is verified."""
        with self._lock:
            self._files_done += 1
            self._note_event()

    def _note_event(self) -> None:
        self._last_event_at = time.monotonic()
        self._events += 1

    @property
    def events(self) -> int:
        """A counter that changes with each event, also where the report stays the same."""
        return self._events

    @property
    def left_bytes(self) -> int:
        """Bytes that are missing."""
        return max(0, self._total_bytes - self._have_bytes)

    def report(self) -> DownloadProgress:
        """The progress now."""
        now = time.monotonic()
        with self._lock:
            self._shown = min(max(self._shown, self._have_bytes), self._total_bytes)
            recent = sum(count for at, count in self._recent if at >= now - _WINDOW_S)
            speed = recent / max(min(_WINDOW_S, now - self._begun_at), 0.1)
            return DownloadProgress(
                downloaded_bytes=self._shown,
                total_bytes=self._total_bytes,
                bytes_per_s=round(speed, 1),
                eta_s=round(self.left_bytes / speed, 1) if speed > 0 else None,
                file=self._file,
                files_done=self._files_done,
                files_total=self._files_total,
                stalled_s=round(now - self._last_event_at, 1) if now - self._last_event_at >= 1 else 0.0,
            )
