"""One file from the hub, to the byte: resumed where it broke off, verified while it comes, retried within bounds.

Knows ranges and what to do when something goes wrong; nothing of repositories or of where a file goes in the end.
"""

from __future__ import annotations

import re
from pathlib import Path

from mlx_sidecar.disk import Disk
from mlx_sidecar.errors import ChecksumMismatch, HubError, NoConnection
from mlx_sidecar.hub.failures import BrokenOff, of_response
from mlx_sidecar.hub.meter import Meter
from mlx_sidecar.hub.part import Part
from mlx_sidecar.hub.plan import PlannedFile
from mlx_sidecar.hub.web import Answer, Web

_WORTH_A_TRY_BYTES = 64 * 1024
"""Tries that bring less than this count as failures in a row, or a trickle could go on for ever."""


def fetch(web: Web, file: PlannedFile, url: str, path: Path, meter: Meter, disk: Disk) -> None:
    """Make `path` the whole file, verified, on the disk. Raises SidecarError, and OSError from the disk."""
    mismatches = 0
    with Part(path, file, meter.found, disk) as part:
        while mismatches < 2:
            # What an earlier run left may be what is wrong; that isn't the hub's fault.
            is_all_new = part.size == 0
            _complete(web, part, url, meter)
            if part.is_right:
                part.seal()
                return
            _restart(part, meter)
            mismatches += is_all_new
    path.unlink()
    raise ChecksumMismatch(
        f"'{file.path}' came twice with another content than the hub states; try again later, or tell the "
        "repository's owner",
        {"file": file.path, "expected": file.digest},
    )


class _Elsewhere(BrokenOff):
    """The answer isn't what goes on from what is there."""


def _complete(web: Web, part: Part, url: str, meter: Meter) -> None:
    """Fetch what isn't there, in as many tries as bring something."""
    failures, furthest, was_elsewhere = 0, part.size, False
    while part.size < part.file.size:
        try:
            _receive(web, part, url, meter)
        except BrokenOff as broken:
            if was_elsewhere and isinstance(broken, _Elsewhere):
                # Once may be a page of some proxy's; twice, and this server can't go on from there.
                _restart(part, meter)
            was_elsewhere = isinstance(broken, _Elsewhere)
            failures = 0 if part.size >= furthest + _WORTH_A_TRY_BYTES else failures + 1
            furthest = max(furthest, part.size)
            broken.wait(failures, web.pause_s)


def _receive(web: Web, part: Part, url: str, meter: Meter) -> None:
    """Fetch the rest over one connection. Raises BrokenOff where that isn't enough."""
    what = f"'{part.file.path}'"
    wanted = {"Range": f"bytes={part.size}-"} if part.size else {}
    with web.get(url, what, wanted) as answer:
        if answer.status not in {200, 206, 416}:
            raise of_response(answer, what, url.partition("/resolve/")[0])
        _check_beginning(answer, part, meter)
        while chunk := answer.read():
            if part.size + len(chunk) > part.file.size:
                raise _Elsewhere(HubError(f"the hub sends more of {what} than it stated; try again later"))
            part.append(chunk)
            meter.received(len(chunk), part.file.path)
    if part.size < part.file.size:
        raise BrokenOff(NoConnection(f"the connection broke off in the middle of {what}; try again"))


def _check_beginning(answer: Answer, part: Part, meter: Meter) -> None:
    """See that what comes goes on from what is there; a server without ranges begins anew, whatever was asked."""
    length = answer.headers.get("content-length")
    if answer.status == 206 and _range_start(answer) == part.size:
        return
    is_whole = answer.status == 200 and (length == str(part.file.size) or (length is None and not part.size))
    if not is_whole:
        raise _Elsewhere(HubError(f"the hub sends something else than '{part.file.path}'; try again later"))
    if part.size:
        _restart(part, meter)


def _restart(part: Part, meter: Meter) -> None:
    meter.found(-part.resumed)
    meter.lost(part.size - part.resumed)
    part.restart()


def _range_start(answer: Answer) -> int | None:
    stated = re.match(r"bytes (\d+)-", answer.headers.get("content-range", ""))
    return int(stated[1]) if stated else None
