"""`mlx-sidecar convert FILE.gguf FOLDER`: the same model as an MLX folder."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from mlx_sidecar.flags import OneLineParser, some_text
from mlx_sidecar.models.resolve import absolute
from mlx_sidecar.protocol.responses import Measure
from mlx_sidecar.terminal.endings import end_with, say, show
from mlx_sidecar.terminal.flags import command_parser, print_json
from mlx_sidecar.terminal.models import size
from mlx_sidecar.terminal.waiting import Waiting


def convert(arguments: Sequence[str]) -> NoReturn:
    """Write the folder and print its path: nothing is there before all of it is."""
    args = _parser().parse_args(arguments)
    end_with(lambda: _convert(args))


@contextlib.contextmanager
def _tidied_by_signals() -> Iterator[None]:
    """What is half written goes when the process is told to end, or its terminal is closed."""
    before = {number: signal.signal(number, _end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(number: int, _: object) -> NoReturn:
    sys.exit(128 + number)


def _convert(args: argparse.Namespace) -> int:
    from mlx_sidecar.engine.gguf_convert import convert as converted

    folder = absolute(args.folder)
    with _tidied_by_signals(), Waiting(f"converting {Path(args.file).name}") as waiting:
        reading = converted(absolute(args.file), folder)
        while True:
            try:
                waiting.report(Measure(progress=next(reading) * 100))
            except StopIteration as finished:
                written: int = finished.value
                break
    if args.json:
        print_json({"folder": str(folder), "bytes": written})
    else:
        say(f"wrote {size(written)}")
        show(f"{folder}\n")
    return 0


def _parser() -> OneLineParser:
    parser = command_parser(
        "convert",
        "A GGUF file as an MLX folder, quantized as it is. The file stays.",
        "Scales and all that isn't quantized are written as this machine's device holds them: with 16 bits on Metal, "
        "with 32 on a CPU. A folder for a Mac is better made on one.",
    )
    parser.add_argument("file", metavar="FILE", type=some_text, help="a .gguf file, or the first of a split set")
    parser.add_argument("folder", metavar="FOLDER", type=some_text, help="one that isn't there yet, or an empty one")
    return parser
