"""A download, in a process of its own, which `downloads` starts. The only part that opens a socket.

Reads its order from stdin and says how far it is on stdout. Its stdin is the
worker's hand: when that closes, the worker is gone, and so is this process.
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
from mlx_sidecar.hub.failures import LONGEST_WAIT_S, MOST_TRIES
from mlx_sidecar.hub.fetch import fetch
from mlx_sidecar.hub.folder_place import FolderPlace
from mlx_sidecar.hub.layout import has_size
from mlx_sidecar.hub.messages import Completed, Failed, Message, Order, decode_order, encode
from mlx_sidecar.hub.meter import Meter
from mlx_sidecar.hub.part import is_intact
from mlx_sidecar.hub.place import Place
from mlx_sidecar.hub.plan import Plan, PlannedFile
from mlx_sidecar.hub.web import Web
from mlx_sidecar.write_all import write_all

_T = TypeVar("_T")
_FILES_AT_ONCE = 4
_REPORT_S = 0.1

Say = Callable[[Message], None]


def main() -> None:
    """Take the order, carry it out, say how it ended. Never comes back."""
    try:
        _run()
    except BaseException:
        # Its words don't reach the worker, or the order didn't come; what reaches it is that the process ends.
        traceback.print_exc()
    finally:
        # Threads that still wait for the network mustn't keep the process.
        os._exit(1)


def _run() -> None:
    # The worker blocks signals for itself. Ctrl-C is its to obey: it ends this process when it ends the download.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    out = os.dup(1)
    os.dup2(2, 1)
    order = decode_order(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_the_worker, daemon=True).start()

    def say(message: Message) -> None:
        write_all(out, encode(message))

    try:
        last: Message = carry_out(order, say)
    except SidecarError as problem:
        last = Failed(code=problem.code, message=problem.message, data=problem.data)
    except Exception:
        traceback.print_exc()
        last = Failed(code=Internal.code, message="a bug in the download ended it; the traceback is on stderr")
    say(last)
    os._exit(0)


def _end_with_the_worker() -> None:
    while os.read(0, 4096):
        pass
    os._exit(1)


def carry_out(order: Order, say: Say, disk: Disk = DISK) -> Completed:
    """Plan, fetch what isn't there, verify, put it to its place. Raises SidecarError."""
    cache = _cache() if order.destination is None else None
    web = Web(headers(), order.stall_s)
    longest_silence_s = MOST_TRIES * (LONGEST_WAIT_S + order.stall_s)
    pool = ThreadPoolExecutor(_FILES_AT_ONCE, thread_name_prefix="fetch")
    watch = _Watch(say, longest_silence_s)
    try:
        (plan,) = watch.until_done([pool.submit(ask_for_plan, web, order)], Meter())
        return _bring(_place(order, plan, cache, disk), web, pool, watch)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _bring(place: Place, web: Web, pool: ThreadPoolExecutor, watch: _Watch) -> Completed:
    plan = place.plan
    meter = Meter(plan.total_bytes, len(plan.files))
    with disk_errors(place.root, place.elsewhere, lambda: meter.left_bytes):
        if not place.is_complete():
            place.prepare()
            with place.alone():
                # Whoever was here until now may have tidied up.
                place.prepare()
                there = sum(_there(place, file) for file in plan.files)
                place.check_room(plan.total_bytes - there)
                meter = Meter(plan.total_bytes, len(plan.files), there)
                watch.say(meter.report())
                jobs = [pool.submit(_get, web, place, files, meter) for files in _largest_first(plan)]
                right = watch.until_done(jobs, meter)
                place.finish({file for files in right for file in files})
        else:
            meter.found(plan.total_bytes)
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
    except ModelNotFound as problem:
        raise DestinationInvalid(f"{problem.message}, or give a destination") from None


def _place(order: Order, plan: Plan, cache: Path | None, disk: Disk) -> Place:
    all_of_it = order.allow_patterns is None
    if cache is not None:
        return CachePlace(cache, plan, order.revision, keeps_others=not all_of_it, disk=disk)
    return FolderPlace(Path(order.destination or ""), plan, instead=all_of_it, disk=disk)


def _largest_first(plan: Plan) -> list[list[PlannedFile]]:
    return sorted(plan.alike, key=lambda files: -files[0].size)


class _Watch:
    """Reports while threads work, and ends what is silent for too long, whatever it waits for."""

    def __init__(self, say: Say, longest_silence_s: float) -> None:
        self.say, self._longest_silence_s = say, longest_silence_s

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
            if report.stalled_s > self._longest_silence_s:
                raise NoConnection("the hub has sent nothing of use for minutes; look at the connection and try again")
        return [job.result() for job in jobs]


def _there(place: Place, file: PlannedFile) -> int:
    """Bytes of a file that needn't be fetched, as far as sizes tell."""
    for path in (place.verified(file), place.where(file), place.part(file)):
        if path is not None and path.is_file():
            return min(path.stat().st_size, file.size)
    return 0


def _get(web: Web, place: Place, files: list[PlannedFile], meter: Meter) -> list[PlannedFile]:
    """See that the content of these files, which are alike, is there; gives those that are right at their places."""
    right = [file for file in files if _is_right(place, file, meter)]
    made = files[len(right) :]
    if not right:
        first, *made = files
        if has_size(place.verified(first), first):
            meter.found(first.size)
        else:
            fetch(web, first, address_of(place.plan, first), place.part(first), meter, place.disk)
            place.disk.move(place.part(first), place.verified(first))
    for file in made:
        meter.made(file.size)
    for _ in files:
        meter.file_done()
    return right


def _is_right(place: Place, file: PlannedFile, meter: Meter) -> bool:
    """Whether a file is at its place with the right content, whoever put it there."""
    there = place.where(file)
    if there is None:
        return False
    if is_intact(there, file, meter.found):
        return True
    meter.found(-file.size)
    return False
