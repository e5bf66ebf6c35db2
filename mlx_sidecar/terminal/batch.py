"""`mlx-sidecar batch REQUESTS --out RESULTS`: a file of requests, as a worker would take them, as a job."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from mlx_sidecar.flags import OneLineParser, some_text
from mlx_sidecar.library.requests import Requests
from mlx_sidecar.library.results import Results
from mlx_sidecar.terminal.endings import end_with
from mlx_sidecar.terminal.flags import add_model, command_parser
from mlx_sidecar.terminal.job import EPILOG_OF_JOBS, model_and_job, work


def batch(arguments: Sequence[str]) -> NoReturn:
    """Answer every request that has no result yet."""
    parser = _parser()
    args = parser.parse_args(arguments)
    try:
        if not Path(args.requests).exists():
            parser.error(f"there is no file {args.requests!r}")
        if not Path(args.requests).is_file():
            parser.error(f"{args.requests!r} is no plain file; it is read twice, and again by the next run")
    except OSError as error:
        parser.error(f"{args.requests[:200]!r} can't be read: {error.strerror}")
    end_with(lambda: _batch(args))


def _batch(args: argparse.Namespace) -> int:
    model, job = model_and_job(args, "batch", {})
    requests = Requests(Path(args.requests))
    results = Results(Path(args.out), job)
    try:
        lines = requests.to_do(results)
        return work(args, model, results, requests.items(lines), len(lines))
    finally:
        results.close()


def _parser() -> OneLineParser:
    about = " A request is known by its id, and without one by its line; one that has changed is answered again."
    parser = command_parser("batch", "A file of requests, one JSON object a line.", EPILOG_OF_JOBS + about)
    parser.add_argument("requests", metavar="REQUESTS", help="lines for generate-tags, summarize, classify, generate")
    parser.add_argument("--out", metavar="RESULTS", required=True, type=some_text, help="append results here")
    add_model(parser)
    return parser
