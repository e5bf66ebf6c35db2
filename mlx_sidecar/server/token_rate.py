"""Generated tokens per second, over the last few seconds."""

from __future__ import annotations

from collections import deque

_WINDOW_S = 5.0
_MIN_WINDOW_S = 1.0
"""Over less a rate says nothing."""


class TokenRate:
    """Counts tokens with the time at which they were generated."""

    def __init__(self) -> None:
        self._counts: deque[tuple[float, int]] = deque()

    def add(self, count: int, now: float) -> None:
        """So many tokens were generated."""
        self._counts.append((now, count))
        self._forget_old(now)

    def per_s(self, now: float) -> float:
        """The rate at this moment."""
        self._forget_old(now)
        if not self._counts:
            return 0.0
        return round(sum(count for _, count in self._counts) / max(now - self._counts[0][0], _MIN_WINDOW_S), 2)

    def _forget_old(self, now: float) -> None:
        while self._counts and self._counts[0][0] < now - _WINDOW_S:
            self._counts.popleft()
