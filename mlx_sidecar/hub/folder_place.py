"""A download into a folder of the user's, as plain files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from pathlib import Path

from mlx_sidecar.disk import DISK, Disk
from mlx_sidecar.errors import DestinationInvalid
from mlx_sidecar.hub.disk_failures import disk_errors
from mlx_sidecar.hub.layout import MANIFEST, has_size, read_manifest
from mlx_sidecar.hub.place import CONFIG, Place
from mlx_sidecar.hub.plan import Plan, PlannedFile, is_safe


class FolderPlace(Place):
    """Plain files, `instead` of an earlier revision's or beside them. Raises DestinationInvalid where that can't be."""

    def __init__(self, root: Path, plan: Plan, instead: bool, disk: Disk = DISK) -> None:
        super().__init__(root, plan, not instead, disk)
        self._instead = instead
        with disk_errors(root, self.elsewhere):
            if root.exists() and not root.is_dir():
                raise DestinationInvalid(f"'{root}' is a file; give a folder", {"path": str(root)})
        earlier = read_manifest(self.manifest_path)
        if instead and earlier is not None and earlier.repo_id != plan.repo_id:
            raise DestinationInvalid(
                f"'{root}' holds '{earlier.repo_id}'; choose another folder, or remove that model first",
                {"path": str(root), "repo_id": earlier.repo_id},
            )

    @property
    def folder(self) -> Path:
        """The folder itself."""
        return self.root

    @property
    def manifest_path(self) -> Path:
        """Beside the files."""
        return self.root / MANIFEST

    def existing_path(self, file: PlannedFile) -> Path | None:
        """The file at its path."""
        path = self._path(file)
        return path if has_size(path, file) else None

    def commit(self, valid: Collection[PlannedFile]) -> None:
        """Move `config.json` away first and back last: without it no reader takes two mixed revisions for a model."""
        self._move_config_aside()
        self._clear_earlier()
        wrong = [file for file in self.plan.files if file not in valid]
        uses = Counter(file.digest for file in wrong)
        for file in sorted(wrong, key=lambda file: file.path == CONFIG):
            uses[file.digest] -= 1
            self._fill(file, valid, is_last=not uses[file.digest])
        if self._aside.exists() and any(file.path == CONFIG for file in valid):
            self.disk.move(self._aside, self.root / CONFIG)
        self._aside.unlink(missing_ok=True)
        self.leave_manifest()

    @property
    def _aside(self) -> Path:
        return self.partial / "config.aside"

    def _move_config_aside(self) -> None:
        for config in [file for file in self.plan.files if file.path == CONFIG]:
            if self._path(config).exists():
                self.disk.move(self._path(config), self._aside)

    def _clear_earlier(self) -> None:
        """Weights of another revision would be loaded together with the new ones."""
        earlier = read_manifest(self.manifest_path)
        if earlier is None or not self._instead or earlier.is_of(self.plan):
            return
        kept = {file.path for file in self.plan.files}
        for file in earlier.files:
            if file.path not in kept and is_safe(file.path) and self.existing_path(file) is not None:
                self._path(file).unlink()

    def _fill(self, file: PlannedFile, valid: Collection[PlannedFile], *, is_last: bool) -> None:
        """Move a file to its path, or copy it where another path needs the same content."""
        path, verified = self._path(file), self.verified(file)
        path.parent.mkdir(parents=True, exist_ok=True)
        if verified.exists() and is_last:
            self.disk.move(verified, path)
        else:
            self.copy(verified if verified.exists() else self._twin(file, valid), path)

    def _twin(self, file: PlannedFile, valid: Collection[PlannedFile]) -> Path:
        twin = next(other for other in valid if other.digest == file.digest)
        return self._aside if twin.path == CONFIG else self._path(twin)

    def _path(self, file: PlannedFile) -> Path:
        path = self.root
        for part in file.path.split("/"):
            path = path / part
            if path.is_symlink():
                raise DestinationInvalid(f"'{path}' is a link to another place; remove it", {"path": str(path)})
        return path
