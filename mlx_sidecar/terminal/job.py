"""A library job at a terminal: its bar, its Ctrl-C, its last line."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from mlx_sidecar.client.aio import AsyncClient
from mlx_sidecar.errors import ModelNotFound
from mlx_sidecar.library import receipts
from mlx_sidecar.library.item import Item, digest_of, job_of
from mlx_sidecar.library.job import RESTARTS, Job, Tally
from mlx_sidecar.library.results import Results
from mlx_sidecar.models.sources import source_of
from mlx_sidecar.terminal.endings import say
from mlx_sidecar.terminal.flags import flags_of, model_of, print_json

RecordRun = Callable[[AsyncClient], Awaitable[None]]

EPILOG_OF_JOBS = (
    "Results are appended as JSON lines in the order in which they are ready; whatever ends the job, the same command "
    "goes on from there and asks nothing twice. What fails is recorded with its code; failures that are retryable are "
    "asked again by the next run, the others aren't. A kill loses nothing that was written, a power failure the last "
    "second or so, which is asked again. One file of results belongs to one command, model and set of options, and to "
    "one job at a time. RESULTS.receipts says of each run what its answers depend on; see reproduce. "
    "Exit code 1 if anything failed in this run."
)


def model_and_job(args: argparse.Namespace, command: str, options: dict[str, Any]) -> tuple[str, str]:
    """The model, and the name of the job, which is another one with another model."""
    model = model_of(args)
    if (calibration := getattr(args, "calibration_path", None)) is not None:
        options = {**options, "calibration": digest_of(Path(calibration).read_bytes())}
    return model, job_of(command, _identity(model), options)


def _identity(model: str) -> str:
    """One text for each model, however it is written."""
    with contextlib.suppress(ModelNotFound):
        return source_of(model).identity(model)
    return model


def work(
    args: argparse.Namespace,
    model: str,
    results: Results,
    items: Iterator[Item],
    total: int,
    request: dict[str, Any] | None = None,
) -> int:
    """Run the job; 1 if anything failed. `request` is what is asked of every item, where it is the same."""
    tally = Tally()
    if not results.is_locked:
        say("this disk has no locks, so nothing keeps another job from writing the same results; don't start one")

    async def record_run(client: AsyncClient) -> None:
        receipt = receipts.common_to_all((await client.ask(receipts.probe())).receipt)
        receipts.append(Path(args.out), receipts.Run(results.job, results.size_bytes, receipt, request))

    if total:
        bar = _Bar(total)
        try:
            asyncio.run(_run(model, flags_of(args), results, items, bar, tally, record_run))
        except KeyboardInterrupt:
            bar.stop()
            say(f"stopped with {total - tally.answered - tally.failed:,} to go; the same command goes on from there")
            raise
        finally:
            bar.stop()
    if args.json:
        print_json(msgspec.structs.asdict(tally))
    else:
        say(f"{tally.answered:,} answered, {tally.failed:,} failed" if total else "there is nothing left to do")
    return int(tally.failed > 0)


async def _run(
    model: str,
    flags: Sequence[str],
    results: Results,
    items: Iterator[Item],
    bar: _Bar,
    tally: Tally,
    record_run: RecordRun,
) -> None:
    async with AsyncClient(model, flags=flags, restarts=RESTARTS) as client:
        # First of all: without a model nothing is recorded.
        await client.model_info()
        await record_run(client)
        bar.start()
        await Job(client, results, bar.report, tally).run(items)


class _Bar:
    """How far it is, how fast, how long still; nothing where stderr is no terminal."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._bar: Any = None

    def start(self) -> None:
        """It begins."""
        if not sys.stderr.isatty():
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        pace = TextColumn("{task.fields[pace]}")
        columns = (BarColumn(), MofNCompleteColumn(), pace, TimeRemainingColumn(elapsed_when_finished=True))
        self._bar = Progress(*columns, console=Console(stderr=True))
        self._bar.add_task("", total=self._total, pace="")
        self._bar.start()

    def report(self, tally: Tally) -> None:
        """It is this far."""
        if self._bar is not None:
            speed = self._bar.tasks[0].speed
            pace = f"{speed:.1f} a second" if speed else ""
            failed = f", {tally.failed:,} failed" if tally.failed else ""
            self._bar.update(0, completed=tally.answered + tally.failed, pace=pace + failed)

    def stop(self) -> None:
        """It ends."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
