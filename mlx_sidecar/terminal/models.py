"""`mlx-sidecar models [FOLDER]`: the models on this machine, and with `--fits` whether one has room here."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NoReturn

import msgspec

from mlx_sidecar.flags import OneLineParser, at_least, some_text
from mlx_sidecar.models.sources import source_of
from mlx_sidecar.protocol.responses import Estimated, ListedModel
from mlx_sidecar.terminal.endings import end_with, say, show
from mlx_sidecar.terminal.flags import client_without_settings, command_parser, print_json


def models(arguments: Sequence[str]) -> NoReturn:
    """Print a line a model."""
    parser = _parser()
    args = parser.parse_args(arguments)
    if args.fits is None and (args.gguf_file or args.context):
        parser.error("--gguf-file and --context need --fits beside them")
    if args.fits is not None and args.folder is not None:
        parser.error("give FOLDER or --fits, not both")
    end_with(lambda: _models(args))


def _models(args: argparse.Namespace) -> int:
    if args.fits is not None:
        return _fits(args)
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


def _fits(args: argparse.Namespace) -> int:
    """0 where it does, 1 where it doesn't."""
    named = {"gguf_file": args.gguf_file, "context_length": args.context}
    given = {name: value for name, value in named.items() if value is not None}
    with client_without_settings() as client:
        found = client.estimate(**{source_of(args.fits).field: args.fits}, **given)
    if args.json:
        print_json(msgspec.to_builtins(found))
    else:
        show("".join(f"{what:<20}{value}\n" for what, value in _fit_rows(found)))
    return 0 if found.fits else 1


def _fit_rows(found: Estimated) -> list[tuple[str, str]]:
    return [
        ("model", found.model_name),
        ("weights", size(found.weight_bytes)),
        ("cache, 1,000 tokens", size(found.cache_bytes_per_token * 1000)),
        ("memory for it here", size(found.available_bytes)),
        ("its context", f"{found.context_length:,} tokens"),
        ("context that fits", f"{found.largest_context:,} tokens"),
        ("fits", "yes" if found.fits else "no"),
    ]


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
    add = parser.add_argument
    add("folder", metavar="FOLDER", nargs="?", type=some_text)
    add("--fits", metavar="MODEL", type=some_text, help="a folder, a GGUF file or owner/name: has it room?")
    add("--gguf-file", metavar="NAME", type=some_text, help="with --fits: which file of the repository")
    add("--context", metavar="TOKENS", type=at_least(64), help="with --fits: so many tokens are to fit")
    return parser
