"""`mlx-sidecar download REPO`, with a progress bar. The same child as the worker's."""

from __future__ import annotations

import argparse
import os
import queue
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from msgspec import structs

from mlx_sidecar.flags import OneLineParser, some_text
from mlx_sidecar.hub.downloads import Download, Downloads, error_of
from mlx_sidecar.hub.messages import DEFAULT_STALL_S, Completed, DownloadProgress, DownloadRequest, Failed, Message
from mlx_sidecar.terminal.endings import end_with, say, show
from mlx_sidecar.terminal.flags import command_parser, print_json
from mlx_sidecar.terminal.models import size


def download(arguments: Sequence[str]) -> NoReturn:
    """Fetch a model and exit: 0 when done, 1 with the reason, 130 after Ctrl-C, which keeps what was received."""
    args = _parser().parse_args(arguments)
    output: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    downloads = Downloads(lambda _, line: output.put(line), os.environ, DEFAULT_STALL_S)
    running = downloads.start(
        DownloadRequest(
            repo_id=args.repo,
            destination=args.to,
            revision=args.revision,
            allow_patterns=args.allow,
            gguf_file=args.gguf_file,
        )
    )
    # From here on Ctrl-C raises KeyboardInterrupt: the download can be stopped.
    end_with(lambda: _follow_or_stop(downloads, running, output, args))


def _parser() -> OneLineParser:
    options = command_parser("download", "Fetch a model from the Hugging Face Hub. Ctrl-C keeps what came.")
    add = options.add_argument
    add("repo", metavar="REPO", type=some_text, help="owner/name")
    add("--to", metavar="DIR", type=_folder, help="a folder; without it the Hugging Face cache")
    add("--revision", metavar="NAME", type=some_text, help="branch, tag or commit")
    which = options.add_mutually_exclusive_group().add_argument
    which("--allow", metavar="PATTERN", type=some_text, action="append", help="only files like this; may come again")
    which("--gguf-file", metavar="NAME", type=some_text, help="this GGUF file, or the first part of a split one")
    return options


def _folder(value: str) -> str:
    try:
        return str(Path(some_text(value)).expanduser().absolute())
    except (RuntimeError, OSError) as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _follow_or_stop(
    downloads: Downloads, running: Download, output: queue.SimpleQueue[bytes], args: argparse.Namespace
) -> int:
    try:
        return _follow(running, output, args)
    except KeyboardInterrupt:
        downloads.stop(running)
        say("stopped; what came is kept, and the same command goes on from there")
        raise


def _follow(running: Download, output: queue.SimpleQueue[bytes], args: argparse.Namespace) -> int:
    with _bar() as bar:
        task = bar.add_task(args.repo, total=None, pace="")
        while True:
            running.take(output.get())
            while (message := running.next_message()) is not None:
                if isinstance(message, DownloadProgress):
                    done, total = message.downloaded_bytes, message.total_bytes or None
                    bar.update(task, completed=done, total=total, pace=_pace(message))
                else:
                    bar.stop()
                    return _end(message, args.json)


def _end(message: Message, as_json: bool) -> int:
    if isinstance(message, Completed):
        if as_json:
            print_json(structs.asdict(message))
        else:
            show(f"{message.destination}\n")
        return 0
    assert isinstance(message, Failed)
    say(str(error_of(message)))
    for choice in message.data.get("gguf_files", ()):
        say(f"{size(choice['size_bytes']):>8}  {choice['gguf_file']}")
    return 1


def _pace(message: DownloadProgress) -> str:
    """Speed of the network, remaining time, files."""
    if message.stalled_s:
        return f"nothing for {message.stalled_s:.0f} s"
    files = f"{message.files_done}/{message.files_total} files"
    if message.eta_s is None or not message.bytes_per_s:
        return files
    return f"{message.bytes_per_s / 1e6:.1f} MB/s, {message.eta_s:.0f} s left, {files}"


def _bar() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TextColumn("{task.fields[pace]}"))
    return Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty())
