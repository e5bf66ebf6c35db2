"""The job: items through one batch, a window of them in flight, each answer into the results as it comes.

64 requests are in flight, four for each place in the batch. When the worker ends, the job asks what was in flight
again, one by one: it records the document that ends the worker once more, and the others are answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator

from msgspec import Struct

from mlx_sidecar.client.aio import AsyncClient
from mlx_sidecar.client.failures import ClientError, WorkerEnded
from mlx_sidecar.client.offsets import in_code_units
from mlx_sidecar.client.restarts import Restarts
from mlx_sidecar.errors import Internal, SidecarError
from mlx_sidecar.library.item import Item
from mlx_sidecar.library.results import Results, answered_line, failed_line
from mlx_sidecar.protocol import limits

RESTARTS = Restarts(most=12, growth=1.5)
"""For the job's client: documents that end the worker may lie side by side, and each of them is found out."""

WINDOW = 4 * limits.MAX_CONCURRENCY
"""Requests in flight: four for each place in the worker's batch, so that it never runs dry."""

_SYNC_EVERY_S = 1.0

_NOT_THE_ITEMS_FAULT = {
    *("not_available", "model_not_loaded", "model_not_found", "model_invalid", "model_unsupported"),
    *("shutting_down", "cancelled", "worker_not_started", "client_closed"),
}
"""Failures that every item would have: the job ends, and nothing is recorded."""


class Tally(Struct):
    """How far a job is."""

    answered: int = 0
    failed: int = 0


class Job:
    """One run through the items that have no result yet."""

    def __init__(self, client: AsyncClient, results: Results, report: Callable[[Tally], object], tally: Tally) -> None:
        self._client, self._results, self._report, self.tally = client, results, report, tally
        self._suspects: list[Item] = []

    async def run(self, items: Iterator[Item]) -> None:
        """Until every item has a record. Raises what isn't an item's fault, such as ResultsUnwritable."""
        await self._run_lanes(items)
        while self._suspects:
            await self._settle_suspects()
            await self._run_lanes(items)

    async def _run_lanes(self, items: Iterator[Item]) -> None:
        """Until there are no more items, or the worker has ended."""
        lanes = [asyncio.create_task(self._lane(items)) for _ in range(WINDOW)]
        try:
            await self._wait_for(lanes)
        finally:
            for lane in lanes:
                lane.cancel()
            await asyncio.gather(*lanes, return_exceptions=True)

    async def _settle_suspects(self) -> None:
        """The worker ended while these were in it. One by one: who ends it again is to blame, the others aren't."""
        suspects, self._suspects = self._suspects, []
        for suspect in suspects:
            await self._settle(suspect, alone=True)
            self._results.sync()

    async def _wait_for(self, lanes: Iterable[asyncio.Task[None]]) -> None:
        """Until all are through; meanwhile what came is synced now and then. Raises what one of them does."""
        left = set(lanes)
        while left:
            ended, left = await asyncio.wait(left, timeout=_SYNC_EVERY_S, return_when=asyncio.FIRST_EXCEPTION)
            self._results.sync()
            for lane in ended:
                lane.result()

    async def _lane(self, items: Iterator[Item]) -> None:
        for item in items:
            await self._settle(item, alone=False)
            if self._suspects:
                return

    async def _settle(self, item: Item, *, alone: bool) -> None:
        try:
            if isinstance(item.ask, Exception):
                # Thousands of these mustn't keep the others from their answers.
                await asyncio.sleep(0)
                raise item.ask
            result = in_code_units(await self._client.ask(item.ask), item.ask.request)
            line = answered_line(item.command, result, item.warnings)
        except WorkerEnded as ended:
            if alone:
                self._fail(item, ended.code, ended.message, retryable=False)
            else:
                self._suspects.append(item)
        except (SidecarError, ClientError) as failed:
            if failed.code in _NOT_THE_ITEMS_FAULT:
                raise
            self._fail(item, failed.code, failed.message, retryable=failed.retryable)
        except Exception as error:
            # A bug that this item shows is no reason to leave the others without answers.
            self._fail(item, Internal.code, f"a bug: {type(error).__name__}: {error}"[:200], retryable=False)
        else:
            self._results.append(item.subject, item.digest, line)
            self.tally.answered += 1
            self._report(self.tally)

    def _fail(self, item: Item, code: str, message: str, *, retryable: bool) -> None:
        self._results.append(item.subject, item.digest, failed_line(item.command, code, message, retryable))
        self.tally.failed += 1
        self._report(self.tally)
