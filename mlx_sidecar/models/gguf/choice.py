"""Which GGUF file of a folder or repository is meant."""

from __future__ import annotations

from itertools import chain, islice
from pathlib import Path

from mlx_sidecar.errors import InvalidParams, ModelNotFound
from mlx_sidecar.models.gguf.files import SUFFIX, split_of
from mlx_sidecar.models.resolve import Location, absolute

_MOST_LISTED = 1000


def gguf_within(found: Location, gguf_file: str | None) -> Location:
    """The GGUF file of a folder: the one that was asked for, or the only one of a folder without other weights.

    Raises InvalidParams where it can't be one, or where there are several to choose from, and ModelNotFound where the
    one that was asked for isn't there.
    """
    if gguf_file is None:
        gguf_file = _only_gguf(found)
        return found if gguf_file is None else _joined(found, gguf_file)
    if Path(gguf_file).is_absolute() or ".." in Path(gguf_file).parts or Path(gguf_file).suffix != SUFFIX:
        message = f"field 'gguf_file': '{gguf_file[:200]}' is no {SUFFIX} file within the repository or folder"
        raise InvalidParams(message, {"field": "gguf_file"})
    if found.path.is_file():
        message = f"field 'gguf_file': '{found.path}' is a file already; leave gguf_file out, or give its folder"
        raise InvalidParams(message, {"field": "gguf_file"})
    chosen = _joined(found, gguf_file)
    if found.path.is_dir() and not chosen.path.exists():
        raise _not_there(found, gguf_file)
    return chosen


def _joined(found: Location, gguf_file: str) -> Location:
    return Location(absolute(str(found.path / gguf_file)), f"{found.name}/{gguf_file}", found.repo_id)


def _not_there(found: Location, gguf_file: str) -> ModelNotFound:
    names = _models_in(found.path)
    where = f"what is here of '{found.repo_id}'" if found.repo_id else f"'{found.path}'"
    ways = ["fetch it with download-model"] if found.repo_id else []
    ways += [f"choose one of {', '.join(names)[:1000]}"] if names else []
    advice = "; " + ", or ".join(ways) if ways else ", and no other GGUF model; see to the path"
    return ModelNotFound(f"{where} has no '{gguf_file[:200]}'{advice}", {"gguf_files": names})


def _only_gguf(found: Location) -> str | None:
    """None where the folder has other weights, or nothing of the kind."""
    folder, shown = found.path, found.repo_id or found.path
    if not folder.is_dir() or any(folder.glob("model*.safetensors")):
        return None
    names = _models_in(folder)
    if len(names) > 1:
        raise InvalidParams(
            f"'{shown}' holds several GGUF models: {', '.join(names)[:1000]}; choose one with 'gguf_file', "
            f"for --model as {shown}/{names[0]}",
            {"field": "gguf_file", "gguf_files": names},
        )
    return names[0] if names else None


def _models_in(folder: Path) -> list[str]:
    """A projector (mmproj) is the part that sees, and no model; of a set the first part stands for all."""
    files = islice(chain(folder.glob(f"*{SUFFIX}"), folder.glob(f"*/*{SUFFIX}")), _MOST_LISTED)
    return sorted(
        file.relative_to(folder).as_posix()
        for file in files
        if not file.name.startswith("mmproj") and ((split := split_of(file.name)) is None or split.number == 1)
    )
