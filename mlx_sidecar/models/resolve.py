"""Where models lie: the embedded one, a path, a repository in the Hugging Face cache. `sources` chooses among them."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from mlx_sidecar.errors import ModelNotFound

DEMO = "demo"
"""What the embedded model is called, in requests and at a terminal."""

DEMO_FOLDER = Path(__file__).resolve().parent.parent / "demo"


class Location(Struct, frozen=True):
    """Where a model lies, and its name for people."""

    path: Path
    name: str
    repo_id: str | None = None
    """The repository that it is a snapshot of."""


def at_path(model_path: str) -> Location:
    """`demo`, or a path, whatever is there. Raises ModelNotFound where it can't be a path."""
    if model_path == DEMO:
        return Location(DEMO_FOLDER, DEMO)
    path = absolute(model_path)
    return Location(path, path.name)


def in_cache(repo_id: str) -> Location:
    """The snapshot of a repository in the cache. Raises ModelNotFound or InvalidParams."""
    from mlx_sidecar.models.hugging_face_cache import snapshot_of

    return Location(snapshot_of(repo_id), repo_id, repo_id)


def is_folder(path: str) -> bool:
    """Whether there is a folder of this name."""
    try:
        return absolute(path).is_dir()
    except ModelNotFound:
        return False


def is_file(path: str) -> bool:
    """Whether there is a file of this name."""
    try:
        return absolute(path).is_file()
    except ModelNotFound:
        return False


def absolute(path: str) -> Path:
    """A path that somebody gave, with ~ and from the worker's folder. Raises ModelNotFound where it is none."""
    try:
        found = Path(path).expanduser().absolute()
        found.exists()
    except (OSError, RuntimeError, ValueError) as problem:
        raise ModelNotFound(f"the path can't be used: {str(problem)[:200]}") from None
    return found
