"""Where models lie: the embedded one, a path, a repository in the Hugging Face cache. `sources` chooses among them."""

from __future__ import annotations

from itertools import chain, islice
from pathlib import Path

from msgspec import Struct

from mlx_sidecar.errors import InvalidParams, ModelNotFound
from mlx_sidecar.models.gguf.files import SUFFIX, split_of

DEMO = "demo"
"""What the embedded model is called, in requests and at a terminal."""

DEMO_FOLDER = Path(__file__).resolve().parent.parent / "demo"

_MOST_LISTED = 1000


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


def gguf_within(found: Location, gguf_file: str | None) -> Location:
    """The GGUF file of a folder: the one that was asked for, or the only one of a folder without other weights.

    Raises InvalidParams where it can't be one, or where there are several to choose from.
    """
    if gguf_file is None:
        gguf_file = _only_gguf(found.path)
    elif Path(gguf_file).is_absolute() or ".." in Path(gguf_file).parts or Path(gguf_file).suffix != SUFFIX:
        message = f"field 'gguf_file': '{gguf_file[:200]}' is no {SUFFIX} file within the repository or folder"
        raise InvalidParams(message, {"field": "gguf_file"})
    if gguf_file is None:
        return found
    return Location(absolute(str(found.path / gguf_file)), f"{found.name}/{gguf_file}", found.repo_id)


def _only_gguf(folder: Path) -> str | None:
    """None where the folder has other weights, or nothing of the kind."""
    if not folder.is_dir() or any(folder.glob("model*.safetensors")):
        return None
    files = islice(chain(folder.glob(f"*{SUFFIX}"), folder.glob(f"*/*{SUFFIX}")), _MOST_LISTED)
    # A projector (mmproj) is the part that sees, and no model; of a set the first part stands for all.
    names = sorted(
        str(file.relative_to(folder))
        for file in files
        if not file.name.startswith("mmproj") and ((split := split_of(file.name)) is None or split.number == 1)
    )
    if len(names) > 1:
        raise InvalidParams(
            f"{folder} holds several GGUF models: {', '.join(names)[:1000]}; choose one with 'gguf_file'",
            {"field": "gguf_file", "gguf_files": names},
        )
    return names[0] if names else None


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
