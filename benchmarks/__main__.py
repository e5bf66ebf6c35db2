"""Prints the table: `python -m benchmarks [--model 3M] [--rows one,batches] [--preload libopenblas.so.0]`."""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
from datetime import date
from importlib.metadata import version
from pathlib import Path

from benchmarks.agreement import agreement
from benchmarks.models import SHAPES, build
from benchmarks.rows import ROWS, SIZES, Bench


def main() -> None:
    """Measure what was asked for, and print each row as soon as it is there."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--model", choices=SHAPES, action="append", help="which sizes; all without it")
    parser.add_argument(
        "--rows", default=",".join([*ROWS, "agreement"]), help=f"comma-separated, of {', '.join(ROWS)}, agreement"
    )
    parser.add_argument("--preload", help="a BLAS to preload on Linux, such as libopenblas.so.0")
    parser.add_argument("--repeats", type=int, default=5, help="pairs a row (some rows take a multiple of it)")
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help="of the batches")
    wanted = parser.parse_args()
    sizes = [int(size) for size in wanted.sizes.split(",")]
    print(_heading(wanted.preload))
    with tempfile.TemporaryDirectory() as folder:
        for name in wanted.model or SHAPES:
            model = build(Path(folder) / name, SHAPES[name])
            print(
                f"\n| {name} parameters | median | wanted | lowest–highest | pairs |\n| --- | --- | --- | --- | --- |"
            )
            for rows in [name for name in wanted.rows.split(",") if name in ROWS]:
                for row in ROWS[rows](Bench(SHAPES[name], model, wanted.preload, wanted.repeats, sizes)):
                    spread = f"{row.lowest:.3g}–{row.highest:.3g}"
                    print(f"| {row.what} | {row.ratio:.3g} | {row.wanted} | {spread} | {row.pairs} |", flush=True)
        if "agreement" in wanted.rows:
            print("\n| texts that are the same | in a batch | with kept prefixes | seeded, in a batch |")
            print("| --- | --- | --- | --- |")
            for precision, *shares in agreement(Path(folder), wanted.preload):
                print(f"| 3M parameters, {precision} | {' | '.join(shares)} |", flush=True)


def _heading(preload: str | None) -> str:
    blas = f"with {Path(preload).name} preloaded" if preload else "with the BLAS that mlx comes with"
    versions = f"mlx {version('mlx')}, mlx-lm {version('mlx-lm')}, Python {platform.python_version()}"
    return f"{date.today()}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores, {versions}, {blas}"


if __name__ == "__main__":
    main()
