"""What a download fetches: one commit's files, each with its size and digest, and nothing that could be run."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Any

from msgspec import Struct, structs

from mlx_sidecar.control_characters import CONTROLS, DIRECTIONS
from mlx_sidecar.errors import HubError
from mlx_sidecar.hub.selection import select

_DIGEST = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_CONTROL = re.compile(rf"[{CONTROLS}{DIRECTIONS}\u2028\u2029\ud800-\udfff]")
_OWN_NAMES = (".partial", ".mlx-sidecar")
_MAX_NAME_BYTES = 255
_MAX_FILES = 10_000
_MAX_BYTES = 2**53


class PlannedFile(Struct, frozen=True):
    """A file of the repository. The digest is a SHA-256 (64 hex digits) or git's SHA-1 of a blob (40)."""

    path: str
    size: int
    digest: str


class Plan(Struct, frozen=True):
    """The files of a download."""

    repo_id: str
    commit: str
    files: tuple[PlannedFile, ...]

    @property
    def total_bytes(self) -> int:
        """Bytes of all files; content that two paths share counts twice."""
        return sum(file.size for file in self.files)

    @property
    def groups_by_digest(self) -> list[list[PlannedFile]]:
        """Files grouped by content: each content is fetched once."""
        groups: dict[str, list[PlannedFile]] = {}
        for file in self.files:
            groups.setdefault(file.digest, []).append(file)
        return list(groups.values())

    def is_of(self, other: Plan) -> bool:
        """Whether both are of the same commit of the same repository."""
        return (self.repo_id, self.commit) == (other.repo_id, other.commit)

    def covers(self, other: Plan) -> bool:
        """Whether this plan has all files of the other."""
        return self.is_of(other) and set(other.files) <= set(self.files)

    def joined_with(self, other: Plan) -> Plan:
        """A plan with the files of both."""
        mine = set(self.files)
        return structs.replace(self, files=(*self.files, *(file for file in other.files if file not in mine)))


def plan_of(
    repo_id: str,
    commit: str,
    listed: Sequence[dict[str, Any]],
    patterns: Sequence[str] | None,
    gguf_file: str | None = None,
) -> Plan:
    """The files of the hub's list that are wanted, checked: nothing in it is trusted.

    Raises HubError where the list is not one, InvalidParams where nothing in it is wanted or somebody has to choose.
    """
    if not _COMMIT.fullmatch(commit):
        raise HubError(f"the hub names a commit of '{repo_id}' that is none; try again later", {"commit": commit[:80]})
    wanted = select(repo_id, listed, patterns, gguf_file)
    if len(wanted) > _MAX_FILES:
        raise HubError(f"'{repo_id}' lists more than {_MAX_FILES} files; name some with allow_patterns", {})
    files = tuple(_checked(entry) for entry in wanted)
    if sum(file.size for file in files) > _MAX_BYTES:
        raise HubError(f"'{repo_id}' states a size that no disk has; don't use this repository", {})
    _check_apart(repo_id, [file.path for file in files])
    return Plan(repo_id, commit, files)


def _check_apart(repo_id: str, paths: Sequence[str]) -> None:
    """Raise HubError where a file system may take two of these for one, or a file for another's folder."""
    folded = {_fold(path) for path in paths}
    folders = {folder for path in folded for folder in _folders(path)}
    if len(folded) < len(paths) or folded & folders:
        raise HubError(f"'{repo_id}' holds files that a file system may not tell apart; don't use this repository", {})


def _folders(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def _fold(path: str) -> str:
    """What file systems that ignore case, or how a letter is composed, make of a path."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", path).casefold())


def _checked(entry: dict[str, Any]) -> PlannedFile:
    path, size, lfs = str(entry["rfilename"]), entry.get("size"), entry.get("lfs")
    digest = lfs.get("sha256") if isinstance(lfs, dict) else entry.get("blobId")
    if not is_safe(path):
        raise HubError(f"the hub lists a file with a dangerous name: {path[:200]!r}; don't use this repository", {})
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= _MAX_BYTES:
        raise HubError(f"the hub states no size for '{path}'; try again later", {"file": path})
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise HubError(f"the hub states no usable digest for '{path}'; try again later", {"file": path})
    return PlannedFile(path, size, digest)


def is_safe(path: str) -> bool:
    """Whether a path stays where it is put, on every system: relative, forward slashes, nothing hidden in it."""
    if not path or len(path) > 1024 or "\\" in path or ":" in path or _CONTROL.search(path):
        return False
    parts = path.split("/")
    return not any(_is_odd(part) for part in parts)


def _is_odd(part: str) -> bool:
    if part in {"", ".", ".."} or part.endswith((" ", ".")):
        return True
    return len(part.encode("utf-8", "replace")) > _MAX_NAME_BYTES or _fold(part).startswith(_OWN_NAMES)
