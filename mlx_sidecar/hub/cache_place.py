"""A download into the Hugging Face cache, in its own layout: blobs by their digests, snapshots of links, refs.

Source of the layout: https://huggingface.co/docs/huggingface_hub/guides/manage-cache
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection
from pathlib import Path

from mlx_sidecar.disk import DISK, Disk
from mlx_sidecar.hub.layout import MANIFEST, has_size
from mlx_sidecar.hub.place import CONFIG, Place
from mlx_sidecar.hub.plan import Plan, PlannedFile
from mlx_sidecar.models.hugging_face_cache import repository_folder


class CachePlace(Place):
    """A repository's folder in the cache."""

    elsewhere = "set HF_HOME to another folder"

    def __init__(self, cache: Path, plan: Plan, revision: str | None, keeps_others: bool, disk: Disk = DISK) -> None:
        super().__init__(repository_folder(cache, plan.repo_id), plan, keeps_others, disk)
        self._links: bool | None = None
        self._ref = self.root / "refs" / (revision or "main") if revision != plan.commit else None

    @property
    def folder(self) -> Path:
        """The commit's snapshot."""
        return self.root / "snapshots" / self.plan.commit

    @property
    def manifest_path(self) -> Path:
        """Beside the snapshots: a file in one would be taken for a part of the model."""
        return self.root / f"{MANIFEST}.{self.plan.commit}"

    def prepare(self) -> None:
        """Also make the folders without which the library reports the repository as corrupted."""
        super().prepare()
        for name in ("blobs", "snapshots", "refs"):
            (self.root / name).mkdir(exist_ok=True)

    def copied_bytes(self) -> int:
        """Without links the snapshot's files are copies of the blobs, as whole as they."""
        missing_bytes = sum(file.size for file in self.plan.files if not has_size(self.folder / file.path, file))
        return missing_bytes if missing_bytes and not self._makes_links() else 0

    def existing_path(self, file: PlannedFile) -> Path | None:
        """The snapshot's file, or the blob of another commit's."""
        paths = (self.folder / file.path, self._blob(file))
        return next((path for path in paths if has_size(path, file)), None)

    def is_complete(self) -> bool:
        """Also the ref, by which the commit is found."""
        return super().is_complete() and self._is_named()

    def commit(self, valid: Collection[PlannedFile]) -> None:
        """Write blobs, links, the ref that names the commit, and the manifest."""
        for file in sorted(self.plan.files, key=lambda file: file.path == CONFIG):
            if self.verified(file).exists():
                self.disk.move(self.verified(file), self._blob(file))
            self._link(file, valid)
        if self._ref is not None and not self._is_named():
            self._ref.parent.mkdir(parents=True, exist_ok=True)
            self.write(self._ref, self.plan.commit.encode())
        self.leave_manifest()

    def _is_named(self) -> bool:
        if self._ref is None:
            return True
        with contextlib.suppress(OSError, UnicodeDecodeError):
            return self._ref.read_text().strip() == self.plan.commit
        return False

    def _link(self, file: PlannedFile, valid: Collection[PlannedFile]) -> None:
        link, blob = self.folder / file.path, self._blob(file)
        if file in valid and has_size(link, file):
            return
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        if not blob.exists():
            # A cache without links: the content is in the file of the same digest.
            self.copy(next(self.folder / other.path for other in valid if other.digest == file.digest), link)
            return
        if self._makes_links():
            self.disk.symlink(_way_to(blob, link.parent), link)
        else:
            self.copy(blob, link)

    def _makes_links(self) -> bool:
        """Whether the disk has symbolic links and the library's setting allows them."""
        from huggingface_hub import constants

        if self._links is None:
            self._links = not constants.HF_HUB_DISABLE_SYMLINKS and self.disk.knows_links(self.partial)
        return self._links

    def _blob(self, file: PlannedFile) -> Path:
        return self.root / "blobs" / file.digest


def _way_to(blob: Path, folder: Path) -> str:
    """From this folder: beside it, as in any cache, or where the folders' own links lead."""
    usual = os.path.relpath(blob, folder)
    real = Path(os.path.realpath(folder))
    return usual if (real / usual).exists() else os.path.relpath(os.path.realpath(blob), real)
