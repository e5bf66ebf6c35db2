"""Fetches one file: resumes it, verifies it while it arrives, retries within bounds.

Knows ranges and retries, and nothing of repositories or of a file's final path.
"""

from __future__ import annotations

import re
from pathlib import Path

from mlx_sidecar.disk import Disk
from mlx_sidecar.errors import ChecksumMismatch, HubError, NoConnection
from mlx_sidecar.hub.failures import RetryableError, error_from_response
from mlx_sidecar.hub.http_client import HttpClient, HttpResponse
from mlx_sidecar.hub.meter import Meter
from mlx_sidecar.hub.part import Part
from mlx_sidecar.hub.plan import PlannedFile

_WORTH_A_TRY_BYTES = 64 * 1024
"""Tries that bring less than this count as consecutive failures; a trickle would never end otherwise."""


def fetch(client: HttpClient, file: PlannedFile, url: str, path: Path, meter: Meter, disk: Disk) -> None:
    """Write the whole, verified file to `path`. Raises SidecarError, and OSError from the disk."""
    mismatches = 0
    with Part(path, file, meter.add_existing, disk) as part:
        while mismatches < 2:
            # The damage may be in what an earlier run left; that is no mismatch of the hub's.
            is_all_new = part.size == 0
            _complete(client, part, url, meter)
            if part.is_valid:
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


class _RangeMismatch(RetryableError):
    """The response doesn't continue the bytes on the disk."""


def _complete(client: HttpClient, part: Part, url: str, meter: Meter) -> None:
    """Fetch the missing bytes, in as many tries as bring some."""
    failures, furthest, was_mismatch = 0, part.size, False
    while part.size < part.file.size:
        try:
            _receive(client, part, url, meter)
        except RetryableError as broken:
            if was_mismatch and isinstance(broken, _RangeMismatch):
                # The first may be a page of a proxy's; after the second this server can't resume.
                _restart(part, meter)
            was_mismatch = isinstance(broken, _RangeMismatch)
            failures = 0 if part.size >= furthest + _WORTH_A_TRY_BYTES else failures + 1
            furthest = max(furthest, part.size)
            broken.wait(failures, client.pause_s)


def _receive(client: HttpClient, part: Part, url: str, meter: Meter) -> None:
    """Fetch the rest over one connection. Raises RetryableError where that isn't enough."""
    what = f"'{part.file.path}'"
    range_header = {"Range": f"bytes={part.size}-"} if part.size else {}
    with client.get(url, what, range_header) as answer:
        if answer.status not in {200, 206, 416}:
            raise error_from_response(answer, what, url.partition("/resolve/")[0])
        _check_beginning(answer, part, meter)
        while chunk := answer.read():
            if part.size + len(chunk) > part.file.size:
                raise _RangeMismatch(HubError(f"the hub sends more of {what} than it stated; try again later"))
            part.append(chunk)
            meter.add_received(len(chunk), part.file.path)
    if part.size < part.file.size:
        raise RetryableError(NoConnection(f"the connection broke off in the middle of {what}; try again"))


def _check_beginning(answer: HttpResponse, part: Part, meter: Meter) -> None:
    """Check that the body continues the bytes on the disk; a server without ranges sends the whole file."""
    length = answer.headers.get("content-length")
    if answer.status == 206 and _range_start(answer) == part.size:
        return
    is_whole = answer.status == 200 and (length == str(part.file.size) or (length is None and not part.size))
    if not is_whole:
        raise _RangeMismatch(HubError(f"the hub sends something else than '{part.file.path}'; try again later"))
    if part.size:
        _restart(part, meter)


def _restart(part: Part, meter: Meter) -> None:
    meter.add_existing(-part.resumed)
    meter.discard(part.size - part.resumed)
    part.restart()


def _range_start(answer: HttpResponse) -> int | None:
    stated = re.match(r"bytes (\d+)-", answer.headers.get("content-range", ""))
    return int(stated[1]) if stated else None
