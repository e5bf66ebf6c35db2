"""`python -m training`: makes the demonstration model from nothing, or takes one of the steps."""

from __future__ import annotations

import argparse
from pathlib import Path

from training import pipeline

_STEPS = {
    "data": pipeline.make_data,
    "train": pipeline.run_training,
    "export": pipeline.run_export,
    "evaluate": pipeline.run_evaluation,
}


def main() -> None:
    """Parse the command line and run the steps asked for, in their order."""
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    parser.add_argument("steps", nargs="*", metavar="STEP", help=f"any of: {', '.join(_STEPS)} (default: all)")
    parser.add_argument("--work", type=Path, default=Path("build/training"), help="folder for data and checkpoints")
    parser.add_argument("--output", type=Path, default=Path("mlx_sidecar/demo"), help="folder of the exported model")
    parser.add_argument("--rows", type=int, default=pipeline.ROWS, help="training documents to make")
    parser.add_argument("--steps-total", type=int, default=pipeline.STEPS, help="training steps")
    arguments = parser.parse_args()
    if unknown := set(arguments.steps) - set(_STEPS):
        parser.error(f"no such step: {', '.join(sorted(unknown))}")
    for name, step in _STEPS.items():
        if not arguments.steps or name in arguments.steps:
            step(pipeline.Settings(arguments.work, arguments.output, arguments.rows, arguments.steps_total))


if __name__ == "__main__":
    main()
