"""`mlx-sidecar models [FOLDER]`: the models on this machine."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NoReturn

import msgspec

from mlx_sidecar.flags import OneLineParser, some_text
from mlx_sidecar.protocol.responses import ListedModel
from mlx_sidecar.terminal.endings import end_with, say, show
from mlx_sidecar.terminal.flags import client_without_settings, command_parser, print_json


def models(arguments: Sequence[str]) -> NoReturn:
    """Print a line a model."""
    args = _parser().parse_args(arguments)
    end_with(lambda: _models(args))


def _models(args: argparse.Namespace) -> int:
    with client_without_settings() as client:
        found = client.list_models(args.folder).models
    if args.json:
        for model in found:
            print_json(msgspec.to_builtins(model))
        return 0
    rows = [_row(model) for model in found]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        show(f"{line.rstrip()}\n")
    if not found:
        say(f"no models in {args.folder or 'the Hugging Face cache'}; `mlx-sidecar download REPO` fetches one")
    return 0


def _row(model: ListedModel) -> tuple[str, ...]:
    kind = model.quantization
    bits = (f"{kind.bits}-bit" if kind.bits is not None else kind.mode) if kind is not None else None
    state = "" if model.complete else "incomplete"
    return (model.name, size(model.size_bytes), model.model_type or "-", bits or "-", state)


def size(number_bytes: float) -> str:
    """Bytes, as people read them."""
    for unit in ("B", "kB", "MB"):
        if number_bytes < 1000:
            return f"{number_bytes:.0f} {unit}"
        number_bytes /= 1000
    return f"{number_bytes:.1f} GB"


def _parser() -> OneLineParser:
    parser = command_parser("models", "The models in the Hugging Face cache, or in a folder.")
    parser.add_argument("folder", metavar="FOLDER", nargs="?", type=some_text)
    return parser
