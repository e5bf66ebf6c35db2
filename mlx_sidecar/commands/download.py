"""Fetching a model: the request's side of a download."""

from __future__ import annotations

import math

from msgspec import UNSET, structs

from mlx_sidecar.commands.handlers import handles
from mlx_sidecar.commands.services import Call, Services
from mlx_sidecar.errors import DestinationInvalid, ModelNotFound
from mlx_sidecar.hub.downloads import Download, error_of
from mlx_sidecar.hub.messages import Advanced, Completed, Failed, Order
from mlx_sidecar.models.resolve import absolute
from mlx_sidecar.protocol.requests import DownloadModel
from mlx_sidecar.protocol.responses import Downloaded, DownloadMeasure, DownloadStatus
from mlx_sidecar.tasks.task import Listen, Task

_MB = 1_000_000


@handles(DownloadModel)
def download_model(request: DownloadModel, _: Call, services: Services) -> Task:
    """Follow a download to its end; closing the task stops it."""
    order = Order(
        repo_id=request.repo_id,
        destination=_destination(request),
        revision=request.revision,
        allow_patterns=request.allow_patterns,
    )
    download = services.downloads.start(order)
    try:
        while True:
            match (yield Listen(download.number)):
                case Advanced() as advanced:
                    yield _measure(advanced)
                case Completed() as completed:
                    return Downloaded(success=True, repo_id=request.repo_id, verified=True, **structs.asdict(completed))
                case Failed() as failed:
                    raise error_of(failed)
    finally:
        services.downloads.stop(download)


def status_of(download: Download) -> DownloadStatus:
    """A download as `status` shows it."""
    latest = download.latest
    return DownloadStatus(
        repo_id=download.order.repo_id,
        destination=download.order.destination,
        state="running" if download.process is not None else "queued",
        downloaded_bytes=latest.downloaded_bytes if latest else 0,
        total_bytes=latest.total_bytes if latest else None,
    )


def _destination(request: DownloadModel) -> str | None:
    if request.destination is None:
        return None
    try:
        return str(absolute(request.destination))
    except ModelNotFound as problem:
        raise DestinationInvalid(problem.message, {"destination": request.destination[:1024]}) from None


def _measure(advanced: Advanced) -> DownloadMeasure:
    done, total = advanced.downloaded_bytes, advanced.total_bytes
    # Before the plan is there, nothing is; and 100 is said when all is there.
    percent = math.floor(1000 * done / total) / 10 if total else 100.0 * (advanced.files_total > 0)
    return DownloadMeasure(
        progress=percent,
        downloaded_mb=round(advanced.downloaded_bytes / _MB, 2),
        total_mb=round(advanced.total_bytes / _MB, 2),
        **{**structs.asdict(advanced), "stalled_s": advanced.stalled_s or UNSET},
    )
