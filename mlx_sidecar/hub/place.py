"""Where a download goes, whatever kind of place it is.

Files come into a `.partial` folder beside their place, under their digests, and
go to their places only when all of them are there and verified. A manifest, which
comes last, says what was put there.
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
    """What to do where this one can't be used."""

    def __init__(self, root: Path, plan: Plan, keeps_others: bool, disk: Disk) -> None:
        self.root, self.plan, self.disk = root, plan, disk
        self.partial = root / PARTIAL
        self._keeps_others = keeps_others

    @property
    @abstractmethod
    def folder(self) -> Path:
        """Where the model is in the end."""

    @property
    @abstractmethod
    def manifest_path(self) -> Path:
        """Where the manifest is."""

    @abstractmethod
    def where(self, file: PlannedFile) -> Path | None:
        """Where this file may be already, in its right size; its digest isn't known to be right."""

    @abstractmethod
    def finish(self, right: Collection[PlannedFile]) -> None:
        """Put the files to their places, but for those that were found `right` there, and leave the manifest."""

    def is_complete(self) -> bool:
        """Whether the manifest says that all of this was put here, and the files are there in their sizes."""
        left = read_manifest(self.manifest_path)
        there = all(has_size(self.folder / file.path, file) for file in self.plan.files)
        return left is not None and left.covers(self.plan) and there

    def verified(self, file: PlannedFile) -> Path:
        """Where a file waits for the others, complete and verified."""
        return self.partial / file.digest

    def part(self, file: PlannedFile) -> Path:
        """Where a file is while it comes."""
        return self.partial / f"{file.digest}.part"

    def prepare(self) -> None:
        """Make the folders. Raises OSError and DestinationInvalid."""
        if self.partial.is_symlink():
            raise DestinationInvalid(f"'{self.partial}' is a link; remove it and try again")
        self.partial.mkdir(parents=True, exist_ok=True)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes out: the folder itself is locked, so nothing is left behind. Raises DownloadBusy."""
        folder = os.open(self.root, os.O_RDONLY)
        try:
            # Some network file systems know no locks: there nobody is kept out.
            self.disk.lock(folder)
        except BlockingIOError:
            os.close(folder)
            raise DownloadBusy(f"another process is downloading into '{self.root}'; wait for it") from None
        try:
            yield
        finally:
            os.close(folder)

    def copied_bytes(self) -> int:
        """What this place takes beyond the files themselves."""
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
        """Say what is here, also what an earlier download of this commit put here; then tidy up."""
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
        """Whole or not at all, also when the power fails."""
        with self._new("written") as (made, descriptor):
            write_all(descriptor, data)
        self.disk.move(made, path)

    def copy(self, source: Path, target: Path) -> None:
        """The same content at another path, whole or not at all."""
        with self._new("copied") as (made, descriptor), source.open("rb") as stream:
            while chunk := stream.read(2**20):
                write_all(descriptor, chunk)
        self.disk.move(made, target)

    @contextlib.contextmanager
    def _new(self, name: str) -> Iterator[tuple[Path, int]]:
        """A new file in `.partial`, on the disk when it is left; what has that name, a link perhaps, is not used."""
        made = self.partial / name
        made.unlink(missing_ok=True)
        descriptor = self.disk.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            yield made, descriptor
            self.disk.sync(descriptor)
        finally:
            os.close(descriptor)
