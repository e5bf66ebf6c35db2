"""One file from the hub, to the byte: resumed where it broke off, verified while it comes, retried within bounds.

Knows ranges and what to do when something goes wrong; nothing of repositories or of where a file goes in the end.
"""

from __future__ import annotations

import re
from pathlib import Path

from mlx_sidecar.errors import ChecksumMismatch, HubError, NoConnection
from mlx_sidecar.hub.failures import BrokenOff, of_response
from mlx_sidecar.hub.meter import Meter
from mlx_sidecar.hub.part import Part
from mlx_sidecar.hub.plan import PlannedFile
from mlx_sidecar.hub.web import Answer, Web

_WORTH_A_TRY_BYTES = 64 * 1024
"""Tries that bring less than this count as failures in a row, or a trickle could go on for ever."""


def fetch(web: Web, file: PlannedFile, url: str, path: Path, meter: Meter) -> None:
    """Make `path` the whole file, verified, on the disk. Raises SidecarError, and OSError from the disk."""
    with Part(path, file, meter.found) as part:
        for _ in range(2):
            _complete(web, part, url, meter)
            if part.is_right:
                part.seal()
                return
            _restart(part, meter)
    path.unlink()
    raise ChecksumMismatch(
        f"'{file.path}' came twice with another content than the hub states; try again later, or tell the "
        "repository's owner",
        {"file": file.path, "expected": file.digest},
    )


def _complete(web: Web, part: Part, url: str, meter: Meter) -> None:
    """Fetch what isn't there, in as many tries as bring something."""
    failures = 0
    while part.size < part.file.size:
        before = part.size
        try:
            _receive(web, part, url, meter)
        except BrokenOff as broken:
            failures = 0 if part.size >= before + _WORTH_A_TRY_BYTES else failures + 1
            broken.wait(failures)


def _receive(web: Web, part: Part, url: str, meter: Meter) -> None:
    """Fetch the rest over one connection. Raises BrokenOff where that isn't enough."""
    what = f"'{part.file.path}'"
    wanted = {"Range": f"bytes={part.size}-"} if part.size else {}
    with web.get(url, what, wanted) as answer:
        _begin_where_it_begins(answer, part, url, meter)
        while chunk := answer.read():
            if part.size + len(chunk) > part.file.size:
                raise HubError(f"the hub sends more of {what} than it stated; try again later")
            part.append(chunk)
            meter.received(len(chunk), part.file.path)
    if part.size < part.file.size:
        raise BrokenOff(NoConnection(f"the connection broke off in the middle of {what}; try again"))


def _begin_where_it_begins(answer: Answer, part: Part, url: str, meter: Meter) -> None:
    """See that what comes goes on from what is there. A server without ranges begins anew, whatever was asked."""
    if answer.status == 200 and part.size:
        _restart(part, meter)
    elif answer.status == 416 or (answer.status == 206 and _range_start(answer) != part.size):
        _restart(part, meter)
        raise BrokenOff(HubError(f"the hub sends another part of '{part.file.path}' than was asked for"))
    elif answer.status not in {200, 206}:
        raise of_response(answer, f"'{part.file.path}'", url.partition("/resolve/")[0])


def _restart(part: Part, meter: Meter) -> None:
    meter.found(-part.resumed)
    meter.lost(part.size - part.resumed)
    part.restart()


def _range_start(answer: Answer) -> int | None:
    stated = re.match(r"bytes (\d+)-", answer.headers.get("content-range", ""))
    return int(stated[1]) if stated else None
