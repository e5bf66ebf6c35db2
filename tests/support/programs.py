"""Programs in processes of their own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.support.worker import DEADLINE_S, REPOSITORY, environment


def run_program(source: str) -> subprocess.CompletedProcess[str]:
    """A Python program, run to its end in the repository."""
    return run_command([sys.executable, "-c", source], REPOSITORY)


def run_command(command: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run to its end there, with the environment of the workers."""
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        env=environment(),
        cwd=folder,
        check=False,
    )
