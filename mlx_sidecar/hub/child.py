"""The child process that downloads or reads headers; `downloads` starts it. The only module that opens a socket.

It reads its request from stdin and writes messages to stdout. Its stdin is a liveness pipe: at its end the worker has
exited, and this process exits too.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TypeVar

from mlx_sidecar.disk import DISK, Disk
from mlx_sidecar.errors import DestinationInvalid, Internal, ModelNotFound, NoConnection, SidecarError
from mlx_sidecar.hub.api import address_of, ask_for_plan, headers
from mlx_sidecar.hub.cache_place import CachePlace
from mlx_sidecar.hub.disk_failures import disk_errors
from mlx_sidecar.hub.failures import MAX_TRIES, MAX_WAIT_S
from mlx_sidecar.hub.fetch import fetch
from mlx_sidecar.hub.folder_place import FolderPlace
from mlx_sidecar.hub.http_client import HttpClient
from mlx_sidecar.hub.layout import has_size
from mlx_sidecar.hub.messages import (
    Completed,
    DownloadRequest,
    Failed,
    Message,
    SizesRead,
    SizesRequest,
    decode_request,
    encode,
)
from mlx_sidecar.hub.meter import Meter
from mlx_sidecar.hub.part import is_intact
from mlx_sidecar.hub.place import Place
from mlx_sidecar.hub.plan import Plan, PlannedFile
from mlx_sidecar.write_all import write_all

_T = TypeVar("_T")
_FILES_AT_ONCE = 4
_REPORT_S = 0.1

Say = Callable[[Message], None]


def main() -> None:
    """Read the request, carry it out, report how it ended. Never returns."""
    try:
        _run()
    except BaseException:
        # The worker couldn't be told, or sent no request; it notices the end of the process.
        traceback.print_exc()
    finally:
        # Threads that wait for the network mustn't keep the process alive.
        os._exit(1)


def _run() -> None:
    # The worker blocks signals for itself and obeys Ctrl-C: it ends this process when it ends the download.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    out = os.dup(1)
    os.dup2(2, 1)
    request = decode_request(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_the_worker, daemon=True).start()

    def say(message: Message) -> None:
        write_all(out, encode(message))

    try:
        last: Message = read_sizes(request) if isinstance(request, SizesRequest) else carry_out(request, say)
    except SidecarError as error:
        last = Failed(code=error.code, message=error.message, data=error.data)
    except Exception:
        traceback.print_exc()
        last = Failed(code=Internal.code, message="a bug in the download ended it; the traceback is on stderr")
    say(last)
    os._exit(0)


def _end_with_the_worker() -> None:
    while os.read(0, 4096):
        pass
    os._exit(1)


def read_sizes(request: SizesRequest) -> SizesRead:
    """Read a model's headers without fetching it. Raises SidecarError."""
    from mlx_sidecar.hub.remote_headers import sizes_of

    sizes = sizes_of(request, HttpClient(headers(), request.stall_s))
    return SizesRead(
        model_type=sizes.model_type,
        quantization=sizes.quantization,
        weight_bytes=sizes.weight_bytes,
        per_token=sizes.cost.per_token,
        context_length=sizes.context_length,
    )


def carry_out(request: DownloadRequest, say: Say, disk: Disk = DISK) -> Completed:
    """Plan, fetch missing files, verify them, move them to their paths. Raises SidecarError."""
    cache = _cache() if request.destination is None else None
    client = HttpClient(headers(), request.stall_s)
    max_silence_s = MAX_TRIES * (MAX_WAIT_S + request.stall_s)
    pool = ThreadPoolExecutor(_FILES_AT_ONCE, thread_name_prefix="fetch")
    watch = _Watch(say, max_silence_s)
    try:
        (plan,) = watch.until_done([pool.submit(ask_for_plan, client, request)], Meter())
        return _download_all(_place(request, plan, cache, disk), client, pool, watch)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _download_all(place: Place, client: HttpClient, pool: ThreadPoolExecutor, watch: _Watch) -> Completed:
    plan = place.plan
    meter = Meter(plan.total_bytes, len(plan.files))
    with disk_errors(place.root, place.elsewhere, lambda: meter.left_bytes):
        if not place.is_complete():
            place.prepare()
            with place.exclusive_lock():
                # The process that held the lock until now may have removed the folders.
                place.prepare()
                existing_bytes = sum(_bytes_on_disk(place, file) for file in plan.files)
                place.check_room(plan.total_bytes - existing_bytes)
                meter = Meter(plan.total_bytes, len(plan.files), existing_bytes)
                watch.say(meter.report())
                jobs = [pool.submit(_ensure_content, client, place, files, meter) for files in _largest_first(plan)]
                valid = watch.until_done(jobs, meter)
                place.commit({file for files in valid for file in files})
        else:
            meter.add_existing(plan.total_bytes)
            for _ in plan.files:
                meter.file_done()
    watch.say(meter.report())
    return Completed(
        destination=str(place.folder),
        revision=plan.commit,
        files=len(plan.files),
        total_bytes=plan.total_bytes,
        resumed_bytes=meter.resumed_bytes,
    )


def _cache() -> Path:
    from mlx_sidecar.models.hugging_face_cache import cache_folder

    try:
        return cache_folder()
    except ModelNotFound as error:
        raise DestinationInvalid(f"{error.message}, or give a destination") from None


def _place(request: DownloadRequest, plan: Plan, cache: Path | None, disk: Disk) -> Place:
    all_of_it = request.allow_patterns is None and request.gguf_file is None
    if cache is not None:
        return CachePlace(cache, plan, request.revision, keeps_others=not all_of_it, disk=disk)
    return FolderPlace(Path(request.destination or ""), plan, instead=all_of_it, disk=disk)


def _largest_first(plan: Plan) -> list[list[PlannedFile]]:
    return sorted(plan.groups_by_digest, key=lambda files: -files[0].size)


class _Watch:
    """Reports while threads work, and ends a download that is silent for too long, whatever it waits for."""

    def __init__(self, say: Say, max_silence_s: float) -> None:
        self.say, self._max_silence_s = say, max_silence_s

    def until_done(self, jobs: list[Future[_T]], meter: Meter) -> list[_T]:
        """The jobs' results. Raises what the first to fail raises, and NoConnection."""
        left: set[Future[_T]] = set(jobs)
        events, stalled_s = meter.events, 0.0
        while left:
            done, left = wait(left, timeout=_REPORT_S, return_when=FIRST_EXCEPTION)
            for job in done:
                job.result()
            report = meter.report()
            if meter.events != events or report.stalled_s >= stalled_s + 1:
                self.say(report)
                events, stalled_s = meter.events, report.stalled_s
            if report.stalled_s > self._max_silence_s:
                raise NoConnection("the hub has sent nothing of use for minutes; look at the connection and try again")
        return [job.result() for job in jobs]


def _bytes_on_disk(place: Place, file: PlannedFile) -> int:
    """Bytes of a file that needn't be fetched, judged by sizes."""
    for path in (place.verified(file), place.existing_path(file), place.part(file)):
        if path is not None and path.is_file():
            return min(path.stat().st_size, file.size)
    return 0


def _ensure_content(client: HttpClient, place: Place, files: list[PlannedFile], meter: Meter) -> list[PlannedFile]:
    """Fetch the content of these files, which have one digest, if it is missing; returns those valid at their paths."""
    valid = [file for file in files if _is_valid(place, file, meter)]
    copies = files[len(valid) :]
    if not valid:
        first, *copies = files
        if has_size(place.verified(first), first):
            meter.add_existing(first.size)
        else:
            fetch(client, first, address_of(place.plan, first), place.part(first), meter, place.disk)
            place.disk.move(place.part(first), place.verified(first))
    for file in copies:
        meter.add_copied(file.size)
    for _ in files:
        meter.file_done()
    return valid


def _is_valid(place: Place, file: PlannedFile, meter: Meter) -> bool:
    """Whether a file is at its path with the right content."""
    path = place.existing_path(file)
    if path is None:
        return False
    if is_intact(path, file, meter.add_existing):
        return True
    meter.add_existing(-file.size)
    return False
