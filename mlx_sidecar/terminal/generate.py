"""`mlx-sidecar generate PROMPT`: text, on a terminal as it comes."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from mlx_sidecar.client import calls
from mlx_sidecar.client.prepared_request import PreparedRequest, prepare
from mlx_sidecar.flags import OneLineParser, at_least, some_text
from mlx_sidecar.protocol.requests import Generate
from mlx_sidecar.protocol.responses import Generated
from mlx_sidecar.terminal.documents import STDIN, read, stream_to_terminal
from mlx_sidecar.terminal.endings import end_with, say, show
from mlx_sidecar.terminal.flags import (
    add_model,
    add_sampling,
    check_options,
    client_of,
    command_parser,
    given,
    print_json,
)
from mlx_sidecar.terminal.waiting import Waiting


def generate(arguments: Sequence[str]) -> NoReturn:
    """Print the text."""
    parser = _parser()
    args = parser.parse_args(arguments)
    options = given(args, Generate)

    def ask(prompt: str) -> PreparedRequest[Generated]:
        return prepare(calls.generate, prompt, **options)

    check_options(parser, ask)
    end_with(lambda: _generate(args, ask))


def _generate(args: argparse.Namespace, make: Callable[[str], PreparedRequest[Generated]]) -> int:
    ask = make(read(STDIN) if args.text == STDIN else args.text)
    with client_of(args) as client, Waiting("loading the model") as waiting:
        client.model_info()
        waiting.now("writing")
        if sys.stdout.isatty() and not args.json:
            return _ended(args, stream_to_terminal(client, ask, waiting))
        result = client.ask(ask)
        waiting.stop()
        if args.json:
            print_json(msgspec.to_builtins(result))
        else:
            show(f"{result.text}\n")
    return _ended(args, result)


def _ended(args: argparse.Namespace, result: Generated) -> int:
    """The exit code: what a schema was asked for, and was cut or breaks it, is no answer."""
    if args.schema is None:
        return 0
    if result.finish_reason != "stop":
        say("the answer was cut before its end, so it doesn't obey the schema; allow more with --max-tokens")
        return 1
    broken = [] if isinstance(result.schema_violations, msgspec.UnsetType) else result.schema_violations
    for each in broken:
        say(f"the answer breaks the schema: {each}")
    return 1 if broken else 0


def _parser() -> OneLineParser:
    parser = command_parser("generate", "Text from a prompt.")
    parser.add_argument("text", metavar="PROMPT", type=some_text, help="- is stdin")
    parser.add_argument("--system", metavar="TEXT", type=some_text, help="goes before everything else")
    parser.add_argument("--max-tokens", metavar="N", type=at_least(1), help="(512)")
    parser.add_argument("--schema", metavar="FILE", type=_json_of, help="a JSON Schema that the answer obeys")
    parser.add_argument(
        "--schema-mode",
        choices=("strict", "check"),
        help="check: what of the schema can't be held to while decoding is checked afterwards (strict)",
    )
    add_model(parser)
    add_sampling(parser)
    return parser


def _json_of(name: str) -> dict[str, Any]:
    try:
        value = json.loads(Path(name).read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise argparse.ArgumentTypeError(f"{name}: {error}") from None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"{name} holds no JSON object")
    return value
