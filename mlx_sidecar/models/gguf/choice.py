"""Which GGUF file of a folder or repository is meant."""

from __future__ import annotations

from itertools import chain, islice
from pathlib import Path

from mlx_sidecar.errors import InvalidParams
from mlx_sidecar.models.gguf.files import SUFFIX, split_of
from mlx_sidecar.models.resolve import Location, absolute

_MOST_LISTED = 1000


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
