"""What the command lines of several commands have in common, and the client that they ask for."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from typing import Any

from mlx_sidecar.client import Client
from mlx_sidecar.client.prepared_request import PreparedRequest
from mlx_sidecar.client.wire import encode
from mlx_sidecar.errors import InvalidParams
from mlx_sidecar.escapes import all_without_surrogates
from mlx_sidecar.flags import OneLineParser, at_least, number, some_text
from mlx_sidecar.models.resolve import DEMO
from mlx_sidecar.protocol.codec import Refused, decode
from mlx_sidecar.protocol.requests import Request
from mlx_sidecar.terminal.endings import say


def command_parser(command: str, description: str, epilog: str | None = None) -> OneLineParser:
    """An empty command line with `--json`."""
    parser = OneLineParser(prog=f"mlx-sidecar {command}", description=description, epilog=epilog, allow_abbrev=False)
    parser.add_argument("--json", action="store_true", help="one JSON object a line instead of plain text")
    return parser


_FROM_ENVIRONMENT = ("context_length", "log_level", "max_concurrency")
"""What somebody may look for among the flags of a command, and its worker reads from MLX_SIDECAR_…"""


def add_model(parser: OneLineParser) -> None:
    """`--model`."""
    parser.environment = _FROM_ENVIRONMENT
    parser.add_argument(
        "--model",
        metavar="MODEL",
        type=some_text,
        help="a folder, a GGUF file, a cached repository, or demo (MLX_SIDECAR_MODEL, else demo)",
    )


def add_calibration(parser: OneLineParser) -> None:
    """`--calibration-path`, for commands with scores."""
    parser.add_argument(
        "--calibration-path", metavar="FILE", type=some_text, help="what `mlx-sidecar calibrate` made for the model"
    )


def add_sampling(parser: OneLineParser) -> None:
    """What every command that generates takes."""
    parser.add_argument("--temperature", metavar="N", type=number(0, 5), help="0 takes the likeliest token")
    parser.add_argument("--seed", metavar="N", type=at_least(0), help="the same seed, the same text")


def given(args: argparse.Namespace, kind: type[Request]) -> dict[str, Any]:
    """The fields of such a request that flags gave."""
    return {name: value for name in kind.__struct_fields__ if (value := getattr(args, name, None)) is not None}


def check_options(parser: OneLineParser, ask: Callable[[str], PreparedRequest[Any]]) -> None:
    """Exit where no document could be asked about with these options: in the worker's words, before it is started."""
    try:
        read = decode(encode(0, ask("x").request))
    except InvalidParams as error:
        parser.error(error.message)
    if isinstance(read, Refused):
        parser.error(read.error.message)


def model_of(args: argparse.Namespace) -> str:
    """Which model: the flag's, the environment's, or the embedded one, and then that is said."""
    model = args.model or os.environ.get("MLX_SIDECAR_MODEL")
    if model is None:
        say("this is the embedded demonstration model, whose answers are poor; --model names a real one")
    return model or DEMO


def client_without_settings() -> Client:
    """A client for what needs no model; what the environment sets for workers isn't its business."""
    return Client(
        environment={name: value for name, value in os.environ.items() if not name.startswith("MLX_SIDECAR_")}
    )


def flags_of(args: argparse.Namespace) -> list[str]:
    """What the worker is to be started with beside the model."""
    calibration = getattr(args, "calibration_path", None)
    return [] if calibration is None else ["--calibration-path", calibration]


def client_of(args: argparse.Namespace) -> Client:
    """A client with that model."""
    return Client(model_of(args), flags=flags_of(args))


def print_json(value: dict[str, Any]) -> None:
    """One line. A terminal isn't steered by it, and what isn't UTF-8 may not know its characters.

    What isn't UTF-8 in a name stands there as `\\xff`: half of a surrogate pair is taken by few readers.
    """
    is_plain = sys.stdout.isatty() or sys.stdout.encoding.lower() not in ("utf-8", "utf8")
    line = json.dumps(all_without_surrogates(value), ensure_ascii=is_plain, default=str)
    sys.stdout.write((line.replace("\x7f", "\\u007f") if is_plain else line) + "\n")
    sys.stdout.flush()
