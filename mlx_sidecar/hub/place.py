"""Where a download goes: plain files in a folder, or the Hugging Face cache in its own layout.

Files come into a `.partial` folder beside their place, under their digests, and
go to their places only when all of them are there and verified, the one that
makes a folder a model (`config.json`) last. A manifest says what was put there.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

import msgspec

from mlx_sidecar.errors import DestinationInvalid, DiskFull
from mlx_sidecar.hub.layout import MANIFEST, has_size, read_manifest, repository_folder
from mlx_sidecar.hub.part import to_the_disk
from mlx_sidecar.hub.plan import Plan, PlannedFile, is_safe

PARTIAL = ".partial"
CONFIG = "config.json"
_SPARE_BYTES = 512 * 1024 * 1024


class Place(ABC):
    """A folder that gets the files of one repository."""

    def __init__(self, root: Path, plan: Plan) -> None:
        self.root, self.plan = root, plan
        self.partial = root / PARTIAL

    @property
    @abstractmethod
    def folder(self) -> Path:
        """Where the model is in the end."""

    @property
    @abstractmethod
    def manifest_path(self) -> Path:
        """Where the manifest is."""

    @abstractmethod
    def holds(self, file: PlannedFile) -> Path | None:
        """Where this file may be already, in its right size; its digest isn't known to be right."""

    @abstractmethod
    def put(self, file: PlannedFile) -> None:
        """Put a file that was verified to its place; one that is there already stays."""

    def verified(self, file: PlannedFile) -> Path:
        """Where a file waits for the others, complete and verified."""
        return self.partial / file.digest

    def part(self, file: PlannedFile) -> Path:
        """Where a file is while it comes."""
        return self.partial / f"{file.digest}.part"

    def prepare(self) -> None:
        """Make the folders. Raises DestinationInvalid."""
        try:
            self.partial.mkdir(parents=True, exist_ok=True)
            if self.partial.is_symlink():
                raise DestinationInvalid(f"'{self.partial}' is a link; remove it and try again")
        except OSError as problem:
            raise _unusable(self.root, problem) from None

    def check_room(self, needed_bytes: int) -> None:
        """Raise DiskFull where the files that are still to come leave less than 512 MB."""
        free = shutil.disk_usage(self.partial).free
        if needed_bytes + _SPARE_BYTES > free:
            raise DiskFull(
                f"{needed_bytes // 2**20} MiB are still to come, {_SPARE_BYTES // 2**20} MiB should stay free, and "
                f"'{self.root}' has {free // 2**20} MiB; make room, the download goes on where it is",
                {"needed_bytes": needed_bytes + _SPARE_BYTES, "free_bytes": free},
            )

    def is_complete(self) -> bool:
        """Whether the manifest says that all of this was put here, and the files still have their sizes."""
        left = read_manifest(self.manifest_path)
        return left is not None and left.covers(self.plan) and all(self.holds(file) for file in self.plan.files)

    def finish(self) -> None:
        """Put all files to their places and leave the manifest, which also names what it named of this commit."""
        for file in sorted(self.plan.files, key=lambda each: each.path == CONFIG):
            self.put(file)
        earlier = read_manifest(self.manifest_path)
        now = self.plan.joined_with(earlier) if earlier is not None and earlier.is_of(self.plan) else self.plan
        self._write(self.manifest_path, msgspec.json.encode(now))
        shutil.rmtree(self.partial, ignore_errors=True)

    def _write(self, path: Path, data: bytes) -> None:
        """Whole or not at all, also when the power fails."""
        self.partial.mkdir(exist_ok=True)
        made = self.partial / "written"
        with made.open("wb") as stream:
            stream.write(data)
            stream.flush()
            to_the_disk(stream.fileno())
        made.replace(path)


class FolderPlace(Place):
    """Plain files in a folder of the user's, `instead` of another revision's. Raises DestinationInvalid."""

    def __init__(self, root: Path, plan: Plan, instead: bool) -> None:
        super().__init__(root, plan)
        self._instead = instead
        with disk_errors(root):
            if root.exists() and not root.is_dir():
                raise DestinationInvalid(f"'{root}' is a file; give a folder", {"destination": str(root)})

    @property
    def folder(self) -> Path:
        """The folder itself."""
        return self.root

    @property
    def manifest_path(self) -> Path:
        """Beside the files."""
        return self.root / MANIFEST

    def holds(self, file: PlannedFile) -> Path | None:
        """The file at its path."""
        return _found(self._path(file), file)

    def put(self, file: PlannedFile) -> None:
        """Replace what is at its path, by what came or by the file of the same content that is right already."""
        path, source = self._path(file), self.verified(file)
        if not source.exists():
            source = self._path(self.plan.contents[file.digest])
        if source != path:
            path.parent.mkdir(parents=True, exist_ok=True)
            _link_or_copy(source, path)

    def finish(self) -> None:
        """Without its config.json, which comes last, half of two revisions isn't taken for a model meanwhile."""
        for config in [file for file in self.plan.files if file.path == CONFIG]:
            path, verified = self._path(config), self.verified(config)
            if verified.exists():
                path.unlink(missing_ok=True)
            elif path.exists():
                path.replace(verified)
        earlier = read_manifest(self.manifest_path)
        if earlier is not None and self._instead and not earlier.is_of(self.plan):
            self._clear(earlier)
        super().finish()

    def _clear(self, earlier: Plan) -> None:
        """Weights of another revision would be loaded together with the new ones."""
        kept = {file.path for file in self.plan.files}
        for file in earlier.files:
            if file.path not in kept and is_safe(file.path) and self.holds(file) is not None:
                self._path(file).unlink()

    def _path(self, file: PlannedFile) -> Path:
        path = self.root
        for part in file.path.split("/"):
            path = path / part
            if path.is_symlink():
                raise DestinationInvalid(f"'{path}' is a link to another place; remove it", {"path": str(path)})
        return path


class CachePlace(Place):
    """The Hugging Face cache: blobs by their digests, snapshots of links to them, refs with the commits' names."""

    def __init__(self, cache: Path, plan: Plan, revision: str | None) -> None:
        super().__init__(repository_folder(cache, plan.repo_id), plan)
        self._revision = revision or "main"

    @property
    def folder(self) -> Path:
        """The commit's snapshot."""
        return self.root / "snapshots" / self.plan.commit

    @property
    def manifest_path(self) -> Path:
        """Beside the snapshots: a file in one would be taken for a part of the model."""
        return self.root / f"{MANIFEST}.{self.plan.commit}"

    def prepare(self) -> None:
        """Also the folders without which the library takes the repository for corrupted."""
        super().prepare()
        for name in ("blobs", "snapshots", "refs"):
            (self.root / name).mkdir(exist_ok=True)

    def holds(self, file: PlannedFile) -> Path | None:
        """The snapshot's file, or the blob of another commit's."""
        return _found(self.folder / file.path, file) or _found(self._blob(file), file)

    def put(self, file: PlannedFile) -> None:
        """The blob to the blobs, a link to it into the snapshot."""
        blob, link = self._blob(file), self.folder / file.path
        if self.verified(file).exists():
            self.verified(file).replace(blob)
        if not blob.exists():
            return
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        try:
            link.symlink_to(os.path.relpath(blob, link.parent))
        except OSError:
            _link_or_copy(blob, link)

    def finish(self) -> None:
        """The ref comes last: it makes the commit the one that is loaded."""
        super().finish()
        if self._revision != self.plan.commit:
            ref = self.root / "refs" / self._revision
            ref.parent.mkdir(parents=True, exist_ok=True)
            self._write(ref, self.plan.commit.encode())
            shutil.rmtree(self.partial, ignore_errors=True)

    def _blob(self, file: PlannedFile) -> Path:
        return self.root / "blobs" / file.digest


def _found(path: Path, file: PlannedFile) -> Path | None:
    return path if has_size(path, file) else None


@contextlib.contextmanager
def disk_errors(root: Path) -> Iterator[None]:
    """What the file system says, in the contract's words. Raises DiskFull or DestinationInvalid."""
    try:
        yield
    except OSError as problem:
        if problem.errno in {errno.ENOSPC, errno.EDQUOT}:
            free = shutil.disk_usage(root).free
            message = f"the disk of '{root}' is full; make room, the download goes on where it is"
            raise DiskFull(message, {"free_bytes": free}) from None
        raise _unusable(root, problem) from None


def _unusable(root: Path, problem: OSError) -> DestinationInvalid:
    reason = problem.strerror or type(problem).__name__
    return DestinationInvalid(f"'{root}' can't be written: {reason}; choose another folder", {"path": str(root)})


def _link_or_copy(source: Path, target: Path) -> None:
    """The same content at another path, without a second copy of it where the file system can."""
    made = target.with_name(f"{target.name}.new")
    made.unlink(missing_ok=True)
    try:
        os.link(source, made)
    except OSError:
        shutil.copyfile(source, made)
    made.replace(target)
