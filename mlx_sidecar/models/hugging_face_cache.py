"""The Hugging Face cache as a place where models lie. Reads only, never fetches.

huggingface_hub is imported by the functions that need it: the worker's first answer doesn't wait for it.
"""

from __future__ import annotations

import os
from pathlib import Path

from mlx_sidecar.errors import InvalidParams, ModelNotFound


def cache_folder() -> Path:
    """Where the library keeps what it fetched, from the same variables that it reads. Raises ModelNotFound."""
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE)
    # What the library leaves of ~ without a home would be a folder of that name, and an empty HOME the root's.
    if (cache.parts[:1] and cache.parts[0].startswith("~")) or _is_at_an_empty_home():
        raise ModelNotFound(
            "there is no Hugging Face cache, because this user has no home folder; set HF_HOME to a folder for it"
        )
    return cache.absolute()


def _is_at_an_empty_home() -> bool:
    elsewhere = ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME")
    return os.environ.get("HOME") == "" and not any(os.environ.get(name) for name in elsewhere)


def snapshot_of(repo_id: str) -> Path:
    """The snapshot of a repository in the cache: the main branch's, else the newest. Raises ModelNotFound."""
    check_repo_id(repo_id)
    repository = repository_folder(cache_folder(), repo_id)
    try:
        snapshots = _snapshots(repository)
        if found := snapshots.get(_revision_of_main(repository)):
            return found
        others = sorted(snapshots.values(), key=lambda each: each.stat().st_mtime)
    except OSError as problem:
        raise unreadable(f"what the Hugging Face cache has of '{repo_id}'", problem) from None
    if not others:
        raise ModelNotFound(f"'{repo_id}' is not in the Hugging Face cache; fetch it with download-model first")
    return others[-1]


def _snapshots(repository: Path) -> dict[str, Path]:
    try:
        return {entry.name: Path(entry.path) for entry in os.scandir(repository / "snapshots") if entry.is_dir()}
    except FileNotFoundError:
        return {}


def unreadable(what: str, problem: OSError) -> ModelNotFound:
    reason = problem.strerror or type(problem).__name__
    return ModelNotFound(
        f"{what} can't be read: {reason}; see to '{problem.filename}', or set HF_HOME to another folder"
    )


def _revision_of_main(repository: Path) -> str:
    """What it says, which may be anything: it names a snapshot only if there is one of this name."""
    main = repository / "refs" / "main"
    try:
        if not main.is_file():
            return ""
        with main.open("rb") as file:
            return file.read(100).decode("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def check_repo_id(repo_id: str) -> None:
    """Raise InvalidParams where the hub's library takes this for no repository's name."""
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(repo_id)
    except HFValidationError as problem:
        raise InvalidParams(f"field 'repo_id': {problem}", {"field": "repo_id"}) from None


def repository_folder(cache: Path, repo_id: str) -> Path:
    """What the Hugging Face cache has of a repository."""
    return cache / f"models--{repo_id.replace('/', '--')}"
