"""`tags` and `summarize` with `--out`: all documents of a folder into a file of results."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlx_sidecar.client.prepared_request import PreparedRequest
from mlx_sidecar.flags import OneLineParser, some_text
from mlx_sidecar.library.folder import SUFFIXES, Folder
from mlx_sidecar.library.receipts import options_of
from mlx_sidecar.library.results import Results
from mlx_sidecar.terminal.job import EPILOG_OF_JOBS, model_and_job, work

EPILOG = (
    "With --out, FILE is one folder: every document in it and below it is asked about (" + " ".join(SUFFIXES) + ", and "
    "what --ext names; hidden files and folders are left out). " + EPILOG_OF_JOBS + " A document is known by its path "
    "below the folder and its content: one that has changed is asked about again, and the last record of a path counts."
)


def add_flags(parser: OneLineParser) -> None:
    """What makes a job of it."""
    parser.add_argument("--out", metavar="RESULTS", type=some_text, help="append results here, and go on from there")
    parser.add_argument(
        "--ext", metavar=".SUFFIX", type=some_text, action="append", help="with --out: also files that end so"
    )


def is_job(args: argparse.Namespace, parser: OneLineParser) -> bool:
    """Whether a job is asked for; exit where what is beside it doesn't fit."""
    if args.out is None:
        if args.ext:
            parser.error("--ext needs --out beside it")
        return False
    if len(args.file) != 1 or not _is_folder(args.file[0]):
        parser.error("with --out, name one folder of documents")
    return True


def _is_folder(name: str) -> bool:
    # What is far too long for a name, or lies where nobody may look.
    with contextlib.suppress(OSError):
        return Path(name).is_dir()
    return False


def work_through(
    args: argparse.Namespace, command: str, options: dict[str, Any], ask: Callable[[str], PreparedRequest[Any]]
) -> int:
    """Ask about every document that has no result yet."""
    model, job = model_and_job(args, command, options)
    folder = Folder(Path(args.file[0]), [*SUFFIXES, *(args.ext or ())], command, ask, Path(args.out))
    results = Results(Path(args.out), job)
    try:
        paths = folder.to_do(results)
        return work(args, model, results, folder.items(paths), len(paths), options_of(ask("x").request))
    finally:
        results.close()
