"""What it takes to get a job's answers again: one line for each run, in a file beside its results.

The file of results stays what it was; `offset` says how many bytes of it there were when the run began, so that each
record's run is known. `request` is what was asked of every document, without the document; a batch has none.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, UnsetType

from mlx_sidecar.client.calls import generate
from mlx_sidecar.client.prepared_request import PreparedRequest, prepare
from mlx_sidecar.disk import DISK, Disk
from mlx_sidecar.library.results import ResultsUnwritable
from mlx_sidecar.protocol.requests import Request
from mlx_sidecar.protocol.responses import Generated, Receipt
from mlx_sidecar.write_all import write_all

_OF_THE_PROBE = ("input_digest", "options", "seed")
_NOT_OPTIONS = ("content", "id", "timeout_s", "receipt")


class Run(Struct, frozen=True):
    """One run of a job."""

    job: str
    offset: int
    receipt: dict[str, Any]
    request: dict[str, Any] | None = None


def probe() -> PreparedRequest[Generated]:
    """The shortest request whose receipt says which model answers."""
    return prepare(generate, "x", max_tokens=1, temperature=0.0, receipt=True)


def common_to_all(receipt: Receipt | UnsetType) -> dict[str, Any]:
    """What a probe's receipt says of every answer of the run."""
    said: dict[str, Any] = msgspec.to_builtins(receipt)
    return {name: value for name, value in said.items() if name not in _OF_THE_PROBE}


def options_of(request: Request) -> dict[str, Any]:
    """What a request asks, whatever its document is."""
    said: dict[str, Any] = msgspec.to_builtins(request)
    return {name: value for name, value in said.items() if name not in _NOT_OPTIONS and value is not None}


def file_of(results: Path) -> Path:
    """Where the receipts of a file of results are."""
    return results.with_name(f"{results.name}.receipts")


def append(results: Path, run: Run, disk: Disk = DISK) -> None:
    """Add a run. A line that was torn by a power failure stays, by itself. Raises ResultsUnwritable."""
    file = file_of(results)
    try:
        descriptor = disk.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC)
        try:
            size = os.fstat(descriptor).st_size
            is_torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            write_all(descriptor, (b"\n" if is_torn else b"") + msgspec.json.encode(run) + b"\n")
            disk.sync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise ResultsUnwritable(f"{file} can't be written: {error.strerror}; make room, or name another file") from None


def runs(results: Path) -> list[Run]:
    """All runs in their order. Raises OSError."""
    found = list[Run]()
    for line in file_of(results).read_bytes().split(b"\n"):
        try:
            found.append(msgspec.json.decode(line, type=Run))
        except msgspec.DecodeError:
            continue
    return found
