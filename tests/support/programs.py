"""Python programs in processes of their own."""

from __future__ import annotations

import subprocess
import sys

from tests.support.worker import DEADLINE_S, REPOSITORY, environment


def run_program(source: str) -> subprocess.CompletedProcess[str]:
    """Run it to its end, in the repository and with the environment of the workers."""
    return subprocess.run(
        [sys.executable, "-c", source],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        env=environment(),
        cwd=REPOSITORY,
        check=False,
    )
