"""The handler of `download-model`."""

from __future__ import annotations

import math

from msgspec import UNSET, structs

from mlx_sidecar.commands.context import HandlerContext, RequestInfo
from mlx_sidecar.commands.handlers import handles
from mlx_sidecar.errors import DestinationInvalid, ModelNotFound
from mlx_sidecar.hub.downloads import Download, error_of
from mlx_sidecar.hub.messages import Completed, DownloadProgress, DownloadRequest, Failed
from mlx_sidecar.models.resolve import absolute
from mlx_sidecar.protocol.requests import DownloadModel
from mlx_sidecar.protocol.responses import Downloaded, DownloadMeasure, DownloadStatus
from mlx_sidecar.tasks.task import AwaitDownload, Task

_MB = 1_000_000


@handles(DownloadModel)
def download_model(request: DownloadModel, _: RequestInfo, context: HandlerContext) -> Task:
    """Follow a download to its end; closing the task stops it."""
    download = context.downloads.start(
        DownloadRequest(
            repo_id=request.repo_id,
            destination=_destination(request),
            revision=request.revision,
            allow_patterns=request.allow_patterns,
            gguf_file=request.gguf_file,
        )
    )
    try:
        while True:
            match (yield AwaitDownload(download.number)):
                case DownloadProgress() as progress:
                    yield _measure(progress)
                case Completed() as completed:
                    return Downloaded(success=True, repo_id=request.repo_id, verified=True, **structs.asdict(completed))
                case Failed() as failed:
                    raise error_of(failed)
    finally:
        context.downloads.stop(download)


def status_of(download: Download) -> DownloadStatus:
    """A download as `status` shows it."""
    latest, request = download.latest, download.request
    assert isinstance(request, DownloadRequest)
    return DownloadStatus(
        repo_id=request.repo_id,
        destination=request.destination,
        state="running" if download.process is not None else "queued",
        downloaded_bytes=latest.downloaded_bytes if latest else 0,
        total_bytes=latest.total_bytes if latest else None,
    )


def _destination(request: DownloadModel) -> str | None:
    if request.destination is None:
        return None
    try:
        return str(absolute(request.destination))
    except ModelNotFound as error:
        raise DestinationInvalid(error.message, {"destination": request.destination[:1024]}) from None


def _measure(progress: DownloadProgress) -> DownloadMeasure:
    done, total = progress.downloaded_bytes, progress.total_bytes
    # Without a plan there is no total; 100 only when all files are there.
    percent = math.floor(1000 * done / total) / 10 if total else 100.0 * (progress.files_total > 0)
    return DownloadMeasure(
        progress=percent,
        downloaded_mb=round(progress.downloaded_bytes / _MB, 2),
        total_mb=round(progress.total_bytes / _MB, 2),
        **{**structs.asdict(progress), "stalled_s": progress.stalled_s or UNSET},
    )
