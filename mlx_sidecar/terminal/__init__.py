"""For people at a terminal: `mlx-sidecar COMMAND …`, a file for each command, all over the Python client.

Imported only where the first argument is a word, so a worker's start doesn't pay for it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn

from mlx_sidecar.terminal.streams import open_closed

COMMANDS = (
    "tags",
    "summarize",
    "classify",
    "generate",
    "batch",
    "calibrate",
    "reproduce",
    "download",
    "convert",
    "models",
    "doctor",
)


def run(arguments: Sequence[str]) -> NoReturn:
    """Run the command that the first argument names, and end the process."""
    open_closed()
    name, rest = arguments[0], arguments[1:]
    match name:
        case "tags":
            from mlx_sidecar.terminal.tags import tags

            tags(rest)
        case "summarize":
            from mlx_sidecar.terminal.summarize import summarize

            summarize(rest)
        case "classify":
            from mlx_sidecar.terminal.classify import classify

            classify(rest)
        case "generate":
            from mlx_sidecar.terminal.generate import generate

            generate(rest)
        case "batch":
            from mlx_sidecar.terminal.batch import batch

            batch(rest)
        case "calibrate":
            from mlx_sidecar.terminal.calibrate import calibrate

            calibrate(rest)
        case "reproduce":
            from mlx_sidecar.terminal.reproduce import reproduce

            reproduce(rest)
        case "download":
            from mlx_sidecar.terminal.download import download

            download(rest)
        case "convert":
            from mlx_sidecar.terminal.convert import convert

            convert(rest)
        case "models":
            from mlx_sidecar.terminal.models import models

            models(rest)
        case "doctor":
            from mlx_sidecar.terminal.doctor import doctor

            doctor(rest)
        case _:
            there_are = f"there are {', '.join(COMMANDS)}, and without one it is a worker"
            sys.stderr.write(f"mlx-sidecar: there is no command {name[:60]!r}; {there_are}; see mlx-sidecar --help\n")
            sys.exit(2)
