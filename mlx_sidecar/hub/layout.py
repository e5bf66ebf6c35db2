"""The manifest that a finished download writes beside a repository's files."""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec

from mlx_sidecar.hub.plan import Plan, PlannedFile
from mlx_sidecar.models.files import read_file

MANIFEST = ".mlx-sidecar.json"
_MAX_MANIFEST_BYTES = 16 * 1024 * 1024


def has_size(path: Path, file: PlannedFile) -> bool:
    """Whether there is a file of the size that is stated."""
    return path.is_file() and path.stat().st_size == file.size


def manifest_of(folder: Path) -> Plan | None:
    """The manifest of a folder or of a cache's snapshot, if a download wrote one."""
    manifest = read_manifest(folder / MANIFEST)
    # Only a snapshot's is outside of it: who may write above any other folder isn't who filled it.
    if manifest is None and folder.parent.name == "snapshots":
        return read_manifest(folder.parent.parent / f"{MANIFEST}.{folder.name}")
    return manifest


def read_manifest(path: Path) -> Plan | None:
    """A manifest; None where there is none that can be read."""
    with contextlib.suppress(OSError, ValueError, RecursionError, msgspec.DecodeError):
        return msgspec.json.decode(read_file(path, _MAX_MANIFEST_BYTES), type=Plan)
    return None
