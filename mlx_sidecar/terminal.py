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

from mlx_sidecar.hub.downloads import Download, Downloads, error_of
from mlx_sidecar.hub.messages import DEFAULT_STALL_S, Advanced, Completed, Failed, Message, Order


def download(arguments: Sequence[str]) -> NoReturn:
    """Fetch a model and exit: 0 when it is there, 1 with the reason, 130 after Ctrl-C, which keeps what came."""
    parser = argparse.ArgumentParser(
        prog="mlx-sidecar download", description="Fetch a model from the Hugging Face Hub."
    )
    parser.add_argument("repo", metavar="REPO", help="owner/name")
    parser.add_argument("--to", metavar="DIR", help="a folder; without it the Hugging Face cache")
    parser.add_argument("--revision", metavar="NAME", help="branch, tag or commit")
    parser.add_argument("--allow", metavar="PATTERN", action="append", help="only files like this; may come again")
    wanted = parser.parse_args(arguments)
    # Signals are blocked for the worker, which waits for them; here Ctrl-C is an exception as usual.
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    destination = str(Path(wanted.to).expanduser().absolute()) if wanted.to else None
    said: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    downloads = Downloads(lambda _, line: said.put(line), os.environ, DEFAULT_STALL_S)
    running = downloads.start(
        Order(repo_id=wanted.repo, destination=destination, revision=wanted.revision, allow_patterns=wanted.allow)
    )
    try:
        sys.exit(_follow(running, said, wanted.repo))
    except KeyboardInterrupt:
        downloads.stop(running)
        sys.stderr.write("\nstopped; what came is kept, and the same command goes on from there\n")
        sys.exit(130)


def _follow(running: Download, said: queue.SimpleQueue[bytes], name: str) -> int:
    with _bar() as bar:
        task = bar.add_task(name, total=None)
        while True:
            running.take(said.get())
            while (message := running.next_message()) is not None:
                if isinstance(message, Advanced):
                    silence = f" (nothing for {message.stalled_s:.0f} s)" if message.stalled_s else ""
                    done, total = message.downloaded_bytes, message.total_bytes
                    bar.update(task, completed=done, total=total, description=name + silence)
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


def _bar() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=Console(stderr=True))
