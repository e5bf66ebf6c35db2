"""Handlers of check-availability, status, cancel and shutdown."""

from __future__ import annotations

import sys
import time
from typing import Literal

from msgspec import UNSET

from mlx_sidecar import __version__
from mlx_sidecar.commands.context import HandlerContext, RequestInfo
from mlx_sidecar.commands.download import status_of
from mlx_sidecar.commands.handlers import answers, handles
from mlx_sidecar.engine import device
from mlx_sidecar.protocol.commands import COMMANDS
from mlx_sidecar.protocol.requests import Cancel, CheckAvailability, Shutdown, Status
from mlx_sidecar.protocol.responses import (
    Availability,
    CancelCount,
    DeviceMemory,
    Memory,
    PrefixCacheStatus,
    ShutDown,
    WorkerStatus,
)
from mlx_sidecar.tasks.task import CancelRequests, DescribeRequests, RequestOverview, Task

PROTOCOL_VERSION = 1


@answers(CheckAvailability)
def check_availability(_: CheckAvailability, __: RequestInfo, context: HandlerContext) -> Availability:
    """Whether models can run here. Imports mlx.core and no more."""
    found = device.describe()
    return Availability(
        available=found.reason is None,
        reason=found.reason if found.reason is not None else UNSET,
        protocol=PROTOCOL_VERSION,
        version=__version__,
        mlx_version=found.mlx_version,
        mlx_lm_version=found.mlx_lm_version,
        device=found.kind,
        device_name=found.name,
        memory=Memory(total_bytes=device.total_memory(), available_bytes=device.available_memory()),
        limits=context.limits,
        commands=list(COMMANDS),
    )


@handles(Status)
def status(_: Status, __: RequestInfo, context: HandlerContext) -> Task:
    """What the worker is doing at this moment."""
    overview: RequestOverview = yield DescribeRequests()
    cpu_percent, memory_bytes = context.process_usage.sample()
    engine, requests = context.engine, overview.requests
    active, peak, cached = device.memory_use() if "mlx.core" in sys.modules else (0, 0, 0)
    use = engine.prefix_cache_use
    return WorkerStatus(
        state=_state(context, overview),
        model=engine.facts.name if engine.facts else None,
        uptime_s=round(time.monotonic() - context.started_at, 3),
        cpu_percent=cpu_percent,
        memory_bytes=memory_bytes,
        device_memory=DeviceMemory(active_bytes=active, peak_bytes=peak, cache_bytes=cached),
        prefix_cache=PrefixCacheStatus(entries=use.entries, bytes=use.bytes, budget_bytes=use.budget_bytes),
        running=sum(request.state == "running" for request in requests),
        queued=sum(request.state == "queued" for request in requests),
        requests=requests,
        downloads=[status_of(download) for download in context.downloads.fetching],
        tokens_per_s=overview.tokens_per_s,
    )


def _state(context: HandlerContext, overview: RequestOverview) -> Literal["loading", "generating", "idle"]:
    if context.engine.is_loading or overview.is_starting:
        return "loading"
    # Also where a request of this kind has nothing for the engine yet, or no more.
    at_work = any(request.state == "running" and COMMANDS[request.command].generates for request in overview.requests)
    return "generating" if at_work else "idle"


@handles(Cancel)
def cancel(request: Cancel, _: RequestInfo, __: HandlerContext) -> Task:
    """End one request, or all before this one."""
    count: int = yield CancelRequests(request.target)
    return CancelCount(cancelled=count)


@answers(Shutdown)
def shut_down(_: Shutdown, __: RequestInfo, ___: HandlerContext) -> ShutDown:
    """The worker ends after this answer."""
    return ShutDown(success=True)
