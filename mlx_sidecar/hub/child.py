"""A download, in a process of its own: `python -m mlx_sidecar.hub.child`. The only part that opens a socket.

Reads its order from stdin and says how far it is on stdout. Its stdin is the
worker's hand: when that closes, the worker is gone, and so is this process.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path

from mlx_sidecar.errors import DownloadBusy, Internal, SidecarError
from mlx_sidecar.hub.api import address_of, ask_for_plan, headers
from mlx_sidecar.hub.fetch import fetch
from mlx_sidecar.hub.layout import has_size
from mlx_sidecar.hub.messages import Advanced, Completed, Failed, Message, Order, decode_order, encode
from mlx_sidecar.hub.meter import Meter
from mlx_sidecar.hub.part import is_intact
from mlx_sidecar.hub.place import CachePlace, FolderPlace, Place, disk_errors
from mlx_sidecar.hub.plan import Plan, PlannedFile
from mlx_sidecar.hub.web import Web

_FILES_AT_ONCE = 4
_REPORT_S = 0.1

Say = Callable[[Message], None]


def main() -> None:
    """Take the order, carry it out, say how it ended."""
    # Ctrl-C is for the one who started this; it says what to do.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    out = os.dup(1)
    os.dup2(2, 1)
    order = decode_order(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_the_worker, daemon=True).start()
    lock = threading.Lock()

    def say(message: Message) -> None:
        with lock:
            os.write(out, encode(message))

    try:
        last: Message = carry_out(order, say)
    except SidecarError as problem:
        last = Failed(code=problem.code, message=problem.message, data=problem.data)
    except Exception:
        traceback.print_exc()
        last = Failed(code=Internal.code, message="a bug in the download ended it; the traceback is on stderr")
    say(last)
    # Threads that still wait for the network mustn't keep the process.
    os._exit(0)


def _end_with_the_worker() -> None:
    while os.read(0, 4096):
        pass
    os._exit(1)


def carry_out(order: Order, say: Say) -> Completed:
    """Plan, fetch what isn't there, verify, put it to its place. Raises SidecarError."""
    web = Web(headers(), order.stall_s)
    plan = ask_for_plan(web, order)
    place = _place(order, plan)
    with disk_errors(place.root):
        if place.is_complete():
            return _completed(place, plan.total_bytes)
        place.prepare()
        with _alone(place):
            meter = Meter(plan.total_bytes, len(plan.files))
            _fetch_all(place, web, meter, say)
            place.finish()
    return _completed(place, meter.resumed_bytes)


def _completed(place: Place, resumed_bytes: int) -> Completed:
    return Completed(
        destination=str(place.folder),
        revision=place.plan.commit,
        files=len(place.plan.files),
        total_bytes=place.plan.total_bytes,
        resumed_bytes=resumed_bytes,
    )


def _place(order: Order, plan: Plan) -> Place:
    if order.destination is not None:
        return FolderPlace(Path(order.destination), plan, instead=order.allow_patterns is None)
    from mlx_sidecar.hub.cache import cache_folder

    return CachePlace(cache_folder(), plan, order.revision)


@contextmanager
def _alone(place: Place) -> Iterator[None]:
    """Keep other processes out of the same place. Raises DownloadBusy."""
    import fcntl

    with (place.partial / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise DownloadBusy(f"another process is downloading into '{place.root}'; wait for it") from None
        yield


def _fetch_all(place: Place, web: Web, meter: Meter, say: Say) -> None:
    """Fetch the largest files first, four at once, and report meanwhile."""
    files = place.plan.contents
    needed = sum(file.size - _there(place, file) for file in files.values())
    say(meter.report())
    place.check_room(max(needed, 0))
    pool = ThreadPoolExecutor(_FILES_AT_ONCE, thread_name_prefix="fetch")
    ranked = sorted(files.values(), key=lambda file: -file.size)
    jobs = [pool.submit(_fetch_one, web, place, file, meter) for file in ranked]
    try:
        _report_until_done(jobs, meter, say)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    for file in place.plan.files:
        if files[file.digest] is not file:
            # The same content under another name.
            meter.found(file.size)
            meter.file_done()
    say(meter.report())


def _report_until_done(jobs: list[Future[None]], meter: Meter, say: Say) -> None:
    last: Advanced | None = None
    left: set[Future[None]] = set(jobs)
    while left:
        done, left = wait(left, timeout=_REPORT_S, return_when=FIRST_EXCEPTION)
        for job in done:
            job.result()
        report = meter.report()
        if last is None or report.downloaded_bytes != last.downloaded_bytes or report.stalled_s >= last.stalled_s + 1:
            say(report)
            last = report


def _there(place: Place, file: PlannedFile) -> int:
    """Bytes of a file that needn't be fetched, as far as sizes tell."""
    for path in (place.verified(file), place.holds(file), place.part(file)):
        if path is not None and path.is_file():
            return min(path.stat().st_size, file.size)
    return 0


def _fetch_one(web: Web, place: Place, file: PlannedFile, meter: Meter) -> None:
    if not _is_there(place, file, meter):
        fetch(web, file, address_of(place.plan, file), place.part(file), meter)
        place.part(file).replace(place.verified(file))
    meter.file_done()


def _is_there(place: Place, file: PlannedFile, meter: Meter) -> bool:
    """Whether a file needn't be fetched: it came before, or somebody put it there and its content is right."""
    if has_size(place.verified(file), file):
        meter.found(file.size)
        return True
    there = place.holds(file)
    if there is None:
        return False
    if is_intact(there, file, meter.found):
        return True
    meter.found(-file.size)
    return False


if __name__ == "__main__":
    main()
