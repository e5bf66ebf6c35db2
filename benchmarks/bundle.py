"""A bundle against the installed command: time to the answer of check-availability, and its size.

`python -m benchmarks.bundle dist/mlx-sidecar-TRIPLE/mlx-sidecar`
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

from mlx_sidecar.bundle.build import size_bytes

_QUESTION = b'{"command":"check-availability"}\n'


def main() -> None:
    """Measure pairs in the order ours, theirs, theirs, ours, and print the median with its spread."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bundle", description=__doc__)
    parser.add_argument("program", type=Path, help="a bundle's")
    parser.add_argument("--pairs", type=int, default=40)
    wanted = parser.parse_args()
    bundled, installed = str(wanted.program.absolute()), str(Path(sys.executable).with_name("mlx-sidecar"))
    for program in (bundled, installed):
        _answer_s(program)
    ratios = []
    for _ in range(wanted.pairs // 2):
        first, second, third, fourth = (_answer_s(p) for p in (bundled, installed, installed, bundled))
        ratios += [first / second, fourth / third]
    print(f"check-availability: {statistics.median(ratios):.2f} times the installed command's time", end="")
    print(f" ({min(ratios):.2f}–{max(ratios):.2f}, {len(ratios)} pairs)")
    print(f"{size_bytes(wanted.program.parent) / 1e6:.0f} MB")


def _answer_s(program: str) -> float:
    """From the start of the process to its answer."""
    began = time.perf_counter()
    with subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(_QUESTION)
        line = process.stdout.readline()
        took = time.perf_counter() - began
        process.stdin.close()
    assert b'"available":true' in line, line
    return took


if __name__ == "__main__":
    main()
