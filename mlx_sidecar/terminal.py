"""For people at a terminal: `mlx-sidecar download REPO`, with a progress bar. The same child as the worker's."""

from __future__ import annotations

import argparse
import os
import queue
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from mlx_sidecar.flags import OneLineParser, some_text
from mlx_sidecar.hub.downloads import Download, Downloads, error_of
from mlx_sidecar.hub.messages import DEFAULT_STALL_S, Advanced, Completed, Failed, Message, Order


def download(arguments: Sequence[str]) -> NoReturn:
    """Fetch a model and exit: 0 when it is there, 1 with the reason, 130 after Ctrl-C, which keeps what came."""
    wanted = _parser().parse_args(arguments)
    said: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    downloads = Downloads(lambda _, line: said.put(line), os.environ, DEFAULT_STALL_S)
    running = downloads.start(
        Order(repo_id=wanted.repo, destination=wanted.to, revision=wanted.revision, allow_patterns=wanted.allow)
    )
    try:
        # Signals are blocked for the worker, which waits for them; here Ctrl-C is an exception as usual.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        code = _follow(running, said, wanted.repo)
    except KeyboardInterrupt:
        downloads.stop(running)
        sys.stderr.write("\nstopped; what came is kept, and the same command goes on from there\n")
        code = 130
    sys.exit(code)


def _parser() -> OneLineParser:
    parser = OneLineParser(prog="mlx-sidecar download", description="Fetch a model from the Hugging Face Hub.")
    add = parser.add_argument
    add("repo", metavar="REPO", type=some_text, help="owner/name")
    add("--to", metavar="DIR", type=_folder, help="a folder; without it the Hugging Face cache")
    add("--revision", metavar="NAME", type=some_text, help="branch, tag or commit")
    add("--allow", metavar="PATTERN", type=some_text, action="append", help="only files like this; may come again")
    return parser


def _folder(value: str) -> str:
    try:
        return str(Path(some_text(value)).expanduser().absolute())
    except RuntimeError as problem:
        raise argparse.ArgumentTypeError(str(problem)) from None


def _follow(running: Download, said: queue.SimpleQueue[bytes], name: str) -> int:
    with _bar() as bar:
        task = bar.add_task(name, total=None, pace="")
        while True:
            running.take(said.get())
            while (message := running.next_message()) is not None:
                if isinstance(message, Advanced):
                    done, total = message.downloaded_bytes, message.total_bytes or None
                    bar.update(task, completed=done, total=total, pace=_pace(message))
                else:
                    bar.stop()
                    return _end(message)


def _end(message: Message) -> int:
    if isinstance(message, Completed):
        sys.stdout.write(f"{message.destination}\n")
        return 0
    assert isinstance(message, Failed)
    sys.stderr.write(f"mlx-sidecar: {error_of(message)}\n")
    return 1


def _pace(message: Advanced) -> str:
    """What the bar doesn't say: speed of the network, remaining time, files."""
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
    return Progress(*columns, console=Console(stderr=True))
