"""The manifest that a download leaves beside a repository's files, once they are there."""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec

from mlx_sidecar.hub.plan import Plan, PlannedFile
from mlx_sidecar.models.files import read_file

MANIFEST = ".mlx-sidecar.json"
_MOST_MANIFEST_BYTES = 16 * 1024 * 1024


def has_size(path: Path, file: PlannedFile) -> bool:
    """Whether there is a file of the size that is stated."""
    return path.is_file() and path.stat().st_size == file.size


def manifest_of(folder: Path) -> Plan | None:
    """What a download has put into a folder, or into a snapshot of the cache, if one has."""
    manifest = read_manifest(folder / MANIFEST)
    # Only a snapshot's is outside of it: who may write above any other folder isn't who filled it.
    if manifest is None and folder.parent.name == "snapshots":
        return read_manifest(folder.parent.parent / f"{MANIFEST}.{folder.name}")
    return manifest


def read_manifest(path: Path) -> Plan | None:
    """A manifest; None where there is none that can be read."""
    with contextlib.suppress(OSError, ValueError, RecursionError, msgspec.DecodeError):
        return msgspec.json.decode(read_file(path, _MOST_MANIFEST_BYTES), type=Plan)
    return None
