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
from typing import Any
from urllib.parse import quote

from mlx_sidecar import __version__
from mlx_sidecar.errors import DownloadBusy, HubError, Internal, SidecarError
from mlx_sidecar.hub.layout import check_repo_id, has_size
from mlx_sidecar.hub.messages import Advanced, Completed, Failed, Message, Order, decode_order, encode
from mlx_sidecar.hub.meter import Meter
from mlx_sidecar.hub.place import CachePlace, FolderPlace, Place, disk_errors
from mlx_sidecar.hub.plan import Plan, PlannedFile, plan_of

_FILES_AT_ONCE = 4
_REPORT_S = 0.1
_ASK_TIMEOUT_S = 15.0

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
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    plan = _plan(order)
    place = _place(order, plan)
    with disk_errors(place.root):
        if place.is_complete():
            return _completed(place, plan.total_bytes)
        place.prepare()
        with _alone(place):
            meter = Meter(plan.total_bytes, len(plan.files))
            _fetch_all(place, meter, say, order.stall_s)
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


def _plan(order: Order) -> Plan:
    """Ask the hub, once: the commit and its files with sizes and digests."""
    from huggingface_hub import constants

    check_repo_id(order.repo_id)
    revision = f"/revision/{quote(order.revision, safe='')}" if order.revision else ""
    url = f"{constants.ENDPOINT}/api/models/{order.repo_id}{revision}"
    described = _asked(url, f"'{order.repo_id}'", f"{constants.ENDPOINT}/{order.repo_id}")
    siblings = described.get("siblings") if isinstance(described, dict) else None
    if not isinstance(siblings, list) or not all(isinstance(each, dict) for each in siblings):
        raise HubError(f"the hub's answer about '{order.repo_id}' is no description of a model; try again later")
    return plan_of(order.repo_id, str(described.get("sha")), siblings, order.allow_patterns)


def _headers() -> dict[str, str]:
    """The token of the environment or of the hub's own login, if there is one. Goes to the hub's origin only.

    Not the library's `build_hf_headers`, which asks the hub about agents first.
    """
    from huggingface_hub import get_token

    token = get_token()
    return {"user-agent": f"mlx-sidecar/{__version__}", **({"authorization": f"Bearer {token}"} if token else {})}


def _asked(url: str, what: str, page: str) -> Any:
    """The hub's answer, read; a few tries where it may help. Raises SidecarError."""
    from huggingface_hub.utils import get_session

    from mlx_sidecar.hub.failures import MOST_TRIES, BrokenOff, of_exception, of_response

    for failures in range(1, MOST_TRIES + 1):
        try:
            response = get_session().get(url, params={"blobs": True}, headers=_headers(), timeout=_ASK_TIMEOUT_S)
            if response.status_code == 200:
                return response.json()
            problem = of_response(response, what, page)
        except Exception as raised:
            problem = of_exception(raised, what, page)
        if not isinstance(problem, BrokenOff):
            raise problem
        problem.wait(failures)
    raise AssertionError("unreachable")


def _place(order: Order, plan: Plan) -> Place:
    if order.destination is not None:
        return FolderPlace(Path(order.destination), plan)
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


def _fetch_all(place: Place, meter: Meter, say: Say, stall_s: float) -> None:
    """Fetch the largest files first, four at once, and report meanwhile."""
    from huggingface_hub.utils import get_session

    from mlx_sidecar.hub.fetch import Fetcher

    files = {file.digest: file for file in place.plan.files}
    needed = sum(file.size - _there(place, file) for file in files.values())
    say(meter.report())
    place.check_room(max(needed, 0))
    fetcher = Fetcher(get_session(), _headers(), stall_s)
    pool = ThreadPoolExecutor(_FILES_AT_ONCE, thread_name_prefix="fetch")
    ranked = sorted(files.values(), key=lambda file: -file.size)
    jobs = [pool.submit(_fetch_one, fetcher, place, file, meter) for file in ranked]
    _report_until_done(jobs, meter, say)
    pool.shutdown(wait=False, cancel_futures=True)
    for job in jobs:
        if job.done() and (problem := job.exception()) is not None:
            raise problem
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
        if any(job.exception() is not None for job in done):
            return
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


def _fetch_one(fetcher: Any, place: Place, file: PlannedFile, meter: Meter) -> None:
    from huggingface_hub import hf_hub_url

    from mlx_sidecar.hub.fetch import is_intact

    verified, there = place.verified(file), place.holds(file)
    if has_size(verified, file) or (there is not None and is_intact(there, file)):
        meter.found(file.size)
    else:
        url = hf_hub_url(place.plan.repo_id, file.path, revision=place.plan.commit)
        fetcher.fetch(file, url, place.part(file), meter)
        place.part(file).replace(verified)
    meter.file_done()


if __name__ == "__main__":
    main()
