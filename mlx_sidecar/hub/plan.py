"""What a download fetches: one commit's files, each with its size and digest, and nothing that could be run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatch
from typing import Any

from msgspec import Struct, structs

from mlx_sidecar.errors import HubError, InvalidParams

MODEL_FILES = (
    "*.json",
    "model*.safetensors",
    "tokenizer.model",
    "tiktoken.model",
    "*.tiktoken",
    "*.txt",
    "*.jsonl",
    "*.jinja",
)
"""What mlx_lm loads, but for code (mlx_lm.utils, _download)."""

_CODE = (".py", ".pyc", ".pyd", ".so", ".dylib", ".dll", ".exe", ".sh", ".bat", ".ps1")
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".npy", ".npz", ".h5", ".keras")
NEVER_FETCHED = _CODE + _PICKLES
"""Endings of what runs code when it is loaded or started."""

_DIGEST = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class PlannedFile(Struct, frozen=True):
    """A file of the repository. The digest is a SHA-256 (64 hex digits) or git's SHA-1 of a blob (40)."""

    path: str
    size: int
    digest: str


class Plan(Struct, frozen=True):
    """What is to be there in the end."""

    repo_id: str
    commit: str
    files: tuple[PlannedFile, ...]

    @property
    def total_bytes(self) -> int:
        """Bytes of all files; one that stands there twice counts twice."""
        return sum(file.size for file in self.files)

    @property
    def contents(self) -> dict[str, PlannedFile]:
        """One file for each digest: what stands there twice is fetched once."""
        return {file.digest: file for file in self.files}

    def is_of(self, other: Plan) -> bool:
        """Whether both are of the same commit of the same repository."""
        return (self.repo_id, self.commit) == (other.repo_id, other.commit)

    def covers(self, other: Plan) -> bool:
        """Whether where this is, the other is, too."""
        return self.is_of(other) and set(other.files) <= set(self.files)

    def joined_with(self, other: Plan) -> Plan:
        """What is there when the other's files are there as well."""
        return structs.replace(self, files=(*self.files, *(file for file in other.files if file not in self.files)))


def plan_of(repo_id: str, commit: str, listed: Sequence[dict[str, Any]], patterns: Sequence[str] | None) -> Plan:
    """The files of the hub's list that are wanted, checked: nothing in it is trusted.

    Raises HubError where the list is not one, InvalidParams where nothing in it is wanted.
    """
    if not _COMMIT.fullmatch(commit):
        raise HubError(f"the hub names a commit of '{repo_id}' that is none; try again later", {"commit": commit[:80]})
    names = [str(entry.get("rfilename")) for entry in listed]
    wanted = [name for name in names if _is_wanted(name, patterns or MODEL_FILES)]
    if not wanted:
        raise InvalidParams(
            f"'{repo_id}' has no file that is wanted; "
            + ("allow_patterns names none, or code and pickles only" if patterns else "it isn't a model for MLX"),
            {"field": "allow_patterns" if patterns else "repo_id", "files": names[:50]},
        )
    files = tuple(_checked(entry) for entry in listed if str(entry.get("rfilename")) in wanted)
    if len({_fold(file.path) for file in files}) < len(files):
        raise HubError(f"'{repo_id}' holds files whose names this file system may not tell apart", {})
    return Plan(repo_id, commit, files)


def _is_wanted(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns) and not name.lower().endswith(NEVER_FETCHED)


def _fold(path: str) -> str:
    return path.casefold()


def _checked(entry: dict[str, Any]) -> PlannedFile:
    path, size, lfs = str(entry["rfilename"]), entry.get("size"), entry.get("lfs")
    digest = lfs.get("sha256") if isinstance(lfs, dict) else entry.get("blobId")
    if not is_safe(path):
        raise HubError(f"the hub lists a file with a dangerous name: {path[:200]!r}; don't use this repository", {})
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise HubError(f"the hub states no size for '{path}'; try again later", {"file": path})
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise HubError(f"the hub states no usable digest for '{path}'; try again later", {"file": path})
    return PlannedFile(path, size, digest)


def is_safe(path: str) -> bool:
    """Whether a path stays where it is put, on every system: relative, forward slashes, nothing hidden in it."""
    if not path or len(path) > 1024 or "\\" in path or ":" in path or _CONTROL.search(path):
        return False
    parts = path.split("/")
    return all(part not in {"", ".", ".."} and not part.endswith((" ", ".")) for part in parts) and not any(
        part.startswith((".partial", ".mlx-sidecar")) for part in parts
    )
