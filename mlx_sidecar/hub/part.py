"""A file on the disk while it comes: its bytes, and their digest so far."""

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
    """What hashlib's objects do."""

    def update(self, data: bytes, /) -> None:
        """Take the next bytes."""

    def hexdigest(self) -> str:
        """The digest of all bytes so far."""


class Part:
    """What there is of a file, `resumed` bytes of it from before. Raises OSError from the disk.

    `found` is told of those while they are read.
    """

    def __init__(self, path: Path, file: PlannedFile, found: Callable[[int], None], disk: Disk = DISK) -> None:
        self.file, self.size, self.resumed = file, 0, 0
        self._digest, self._disk = _begin(file), disk
        if path.is_symlink():
            path.unlink()
        self._descriptor = _opened(path, disk)
        try:
            self._take_in(found)
        except BaseException:
            os.close(self._descriptor)
            raise

    def __enter__(self) -> Part:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, at: TracebackType | None
    ) -> None:
        os.close(self._descriptor)

    def _take_in(self, found: Callable[[int], None]) -> None:
        if os.fstat(self._descriptor).st_size > self.file.size:
            self.restart()
        self.size = self.resumed = _take_in(self._descriptor, self._digest, found)

    def append(self, chunk: bytes) -> None:
        """To the disk first: what was received survives whatever happens to this process."""
        write_all(self._descriptor, chunk)
        self._digest.update(chunk)
        self.size += len(chunk)

    def restart(self) -> None:
        """Throw away what is there."""
        os.ftruncate(self._descriptor, 0)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        self._digest, self.size, self.resumed = _begin(self.file), 0, 0

    @property
    def is_right(self) -> bool:
        """Whether this is the file that the hub describes."""
        return self.size == self.file.size and self._digest.hexdigest() == self.file.digest

    def seal(self) -> None:
        """See that no power loss takes away what is there."""
        self._disk.sync(self._descriptor)


def is_intact(path: Path, file: PlannedFile, found: Callable[[int], None]) -> bool:
    """Whether a file on the disk is the one that the hub describes."""
    digest = _begin(file)
    with path.open("rb", buffering=0) as stream:
        size = _take_in(stream.fileno(), digest, found)
    return size == file.size and digest.hexdigest() == file.digest


def _take_in(descriptor: int, digest: Hash, found: Callable[[int], None]) -> int:
    size = 0
    while chunk := os.read(descriptor, _READ_BYTES):
        digest.update(chunk)
        size += len(chunk)
        found(len(chunk))
    return size


def _opened(path: Path, disk: Disk) -> int:
    """Open to go on. Another user's, which can only be read, is taken over: who shares the folder may do so."""
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    try:
        return disk.open(path, flags)
    except PermissionError as refused:
        try:
            _take_over(path, disk)
        except PermissionError:
            raise refused from None
        return disk.open(path, flags)


def _take_over(path: Path, disk: Disk) -> None:
    own = path.with_name(f"{path.name}.own")
    own.unlink(missing_ok=True)
    descriptor = disk.open(own, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        # Where it can't even be read it begins anew.
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
