"""A partially downloaded file with its running digest."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Protocol

from mlx_sidecar.disk import DISK, Disk
from mlx_sidecar.hub.plan import PlannedFile
from mlx_sidecar.write_all import write_all

_READ_BYTES = 1024 * 1024


class Hash(Protocol):
    """The interface of hashlib's objects."""

    def update(self, data: bytes, /) -> None:
        """Take the next bytes."""

    def hexdigest(self) -> str:
        """The digest of all bytes so far."""


class Part:
    """A partial file, `resumed` bytes of it from an earlier run. Raises OSError from the disk.

    It calls `found` with the counts of those bytes while it reads them.
    """

    def __init__(self, path: Path, file: PlannedFile, found: Callable[[int], None], disk: Disk = DISK) -> None:
        self.file, self.size, self.resumed = file, 0, 0
        self._digest, self._disk = _begin(file), disk
        if path.is_symlink():
            path.unlink()
        self._descriptor = _opened(path, disk)
        try:
            self._read_existing(found)
        except BaseException:
            os.close(self._descriptor)
            raise

    def __enter__(self) -> Part:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, at: TracebackType | None
    ) -> None:
        os.close(self._descriptor)

    def _read_existing(self, found: Callable[[int], None]) -> None:
        if os.fstat(self._descriptor).st_size > self.file.size:
            self.restart()
        self.size = self.resumed = _read_existing(self._descriptor, self._digest, found)

    def append(self, chunk: bytes) -> None:
        """Write bytes to the disk first, so they survive the end of this process."""
        write_all(self._descriptor, chunk)
        self._digest.update(chunk)
        self.size += len(chunk)

    def restart(self) -> None:
        """Discard all bytes."""
        os.ftruncate(self._descriptor, 0)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        self._digest, self.size, self.resumed = _begin(self.file), 0, 0

    @property
    def is_valid(self) -> bool:
        """Whether this is the file that the hub describes."""
        return self.size == self.file.size and self._digest.hexdigest() == self.file.digest

    def seal(self) -> None:
        """Sync to the disk."""
        self._disk.sync(self._descriptor)


def is_intact(path: Path, file: PlannedFile, found: Callable[[int], None]) -> bool:
    """Whether a file on the disk is the one that the hub describes."""
    digest = _begin(file)
    with path.open("rb", buffering=0) as stream:
        size = _read_existing(stream.fileno(), digest, found)
    return size == file.size and digest.hexdigest() == file.digest


def _read_existing(descriptor: int, digest: Hash, found: Callable[[int], None]) -> int:
    size = 0
    while chunk := os.read(descriptor, _READ_BYTES):
        digest.update(chunk)
        size += len(chunk)
        found(len(chunk))
    return size


def _opened(path: Path, disk: Disk) -> int:
    """Open for appending. A file of another user, in a shared folder, is replaced by a copy of one's own."""
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    try:
        return disk.open(path, flags)
    except PermissionError as refused:
        try:
            _replace_by_copy(path, disk)
        except PermissionError:
            raise refused from None
        return disk.open(path, flags)


def _replace_by_copy(path: Path, disk: Disk) -> None:
    own = path.with_name(f"{path.name}.own")
    own.unlink(missing_ok=True)
    descriptor = disk.open(own, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        # A file that can't be read is fetched from the beginning.
        with contextlib.suppress(PermissionError), path.open("rb", buffering=0) as stream:
            while chunk := stream.read(_READ_BYTES):
                write_all(descriptor, chunk)
        disk.move(own, path)
    finally:
        os.close(descriptor)
        own.unlink(missing_ok=True)


def _begin(file: PlannedFile) -> Hash:
    if len(file.digest) == 64:
        return hashlib.sha256()
    # Git's digest of a blob: its length stands before its bytes.
    return hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)
