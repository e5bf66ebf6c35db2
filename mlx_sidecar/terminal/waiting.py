"""What a person sees while something takes its time: a line on stderr that goes away, and only on a terminal."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any

from mlx_sidecar.protocol.responses import Measure


class Waiting:
    """Says what is going on, and how far it is once that is known."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._bar: Any = None

    def __enter__(self) -> Waiting:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

            columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._bar.add_task(self._what, total=None)
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def now(self, what: str) -> None:
        """Something else is going on now."""
        if self._bar is not None:
            self._bar.update(0, description=what, total=None)

    def report(self, measure: Measure) -> None:
        """It is this far."""
        if self._bar is not None:
            self._bar.update(0, completed=measure.progress, total=100)

    def stop(self) -> None:
        """There is something to see now."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
