"""The target of a download.

Files arrive in a `.partial` folder, under their digests, and move to their paths when all of them are verified. A
manifest, written last, lists what was put there.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from pathlib import Path

import msgspec

from mlx_sidecar.disk import Disk
from mlx_sidecar.errors import DestinationInvalid, DiskFull, DownloadBusy
from mlx_sidecar.hub.layout import has_size, read_manifest
from mlx_sidecar.hub.plan import Plan, PlannedFile
from mlx_sidecar.write_all import write_all

PARTIAL = ".partial"
CONFIG = "config.json"
_SPARE_BYTES = 512 * 1024 * 1024


class Place(ABC):
    """A folder that gets the files of one repository; `keeps_others` spares what other downloads left unfinished."""

    elsewhere = "choose another folder"
    """Advice for a user whose target can't be used."""

    def __init__(self, root: Path, plan: Plan, keeps_others: bool, disk: Disk) -> None:
        self.root, self.plan, self.disk = root, plan, disk
        self.partial = root / PARTIAL
        self._keeps_others = keeps_others

    @property
    @abstractmethod
    def folder(self) -> Path:
        """The folder of the finished model."""

    @property
    @abstractmethod
    def manifest_path(self) -> Path:
        """The path of the manifest."""

    @abstractmethod
    def existing_path(self, file: PlannedFile) -> Path | None:
        """A path where this file may exist: of the right size, its digest unchecked."""

    @abstractmethod
    def commit(self, valid: Collection[PlannedFile]) -> None:
        """Move the files to their paths, but for those found `valid` there, and write the manifest."""

    def is_complete(self) -> bool:
        """Whether the manifest says that all of this was put here, and the files are there in their sizes."""
        manifest = read_manifest(self.manifest_path)
        exist = all(has_size(self.folder / file.path, file) for file in self.plan.files)
        return manifest is not None and manifest.covers(self.plan) and exist

    def verified(self, file: PlannedFile) -> Path:
        """The path of a verified file until all are."""
        return self.partial / file.digest

    def part(self, file: PlannedFile) -> Path:
        """The path of a file that is being fetched."""
        return self.partial / f"{file.digest}.part"

    def prepare(self) -> None:
        """Make the folders. Raises OSError and DestinationInvalid."""
        if self.partial.is_symlink():
            raise DestinationInvalid(f"'{self.partial}' is a link; remove it and try again")
        self.partial.mkdir(parents=True, exist_ok=True)

    @contextlib.contextmanager
    def exclusive_lock(self) -> Iterator[None]:
        """Lock the folder itself against other processes, so no lock file is left behind. Raises DownloadBusy."""
        folder = os.open(self.root, os.O_RDONLY)
        try:
            # Some network file systems have no locks: there this does nothing.
            self.disk.lock(folder)
        except BlockingIOError:
            os.close(folder)
            raise DownloadBusy(f"another process is downloading into '{self.root}'; wait for it") from None
        try:
            yield
        finally:
            os.close(folder)

    def copied_bytes(self) -> int:
        """Bytes that this target needs beyond the files."""
        return 0

    def check_room(self, coming_bytes: int) -> None:
        """Raise DiskFull where the files that are still to come leave less than 512 MB."""
        copied_bytes = self.copied_bytes()
        if not (needed_bytes := coming_bytes + copied_bytes):
            return
        usage = shutil.disk_usage(self.partial)
        # Some network file systems don't know how large they are.
        if not usage.total and not usage.free:
            return
        if needed_bytes + _SPARE_BYTES > usage.free:
            copies = (
                f"{copied_bytes // 2**20} MiB are to be copied, as this disk has no links, " if copied_bytes else ""
            )
            raise DiskFull(
                f"{coming_bytes // 2**20} MiB are still to come, {copies}{_SPARE_BYTES // 2**20} MiB should stay free, "
                f"and '{self.root}' has {usage.free // 2**20} MiB; make room, the download goes on where it is",
                {"needed_bytes": needed_bytes + _SPARE_BYTES, "free_bytes": usage.free},
            )

    def leave_manifest(self) -> None:
        """Write the manifest, with what an earlier download of this commit put here; then clean up."""
        earlier = read_manifest(self.manifest_path)
        now = self.plan.joined_with(earlier) if earlier is not None and earlier.is_of(self.plan) else self.plan
        self.write(self.manifest_path, msgspec.json.encode(now))
        if self._keeps_others:
            for file in self.plan.files:
                self.verified(file).unlink(missing_ok=True)
                self.part(file).unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                self.partial.rmdir()
        else:
            shutil.rmtree(self.partial, ignore_errors=True)

    def write(self, path: Path, data: bytes) -> None:
        """Write a file whole or not at all, also when the power fails."""
        with self._new("written") as (temporary, descriptor):
            write_all(descriptor, data)
        self.disk.move(temporary, path)

    def copy(self, source: Path, target: Path) -> None:
        """Copy a file whole or not at all."""
        with self._new("copied") as (temporary, descriptor), source.open("rb") as stream:
            while chunk := stream.read(2**20):
                write_all(descriptor, chunk)
        self.disk.move(temporary, target)

    @contextlib.contextmanager
    def _new(self, name: str) -> Iterator[tuple[Path, int]]:
        """A new file in `.partial`, synced at the end; replaces an entry of that name, perhaps a link."""
        path = self.partial / name
        path.unlink(missing_ok=True)
        descriptor = self.disk.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            yield path, descriptor
            self.disk.sync(descriptor)
        finally:
            os.close(descriptor)
