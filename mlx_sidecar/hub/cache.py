"""The models that are on this machine: in the Hugging Face cache, or in a folder. Reads only, never fetches."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Generator, Iterator
from itertools import islice
from pathlib import Path

from msgspec import UNSET, UnsetType, convert

from mlx_sidecar.errors import InvalidParams, SidecarError
from mlx_sidecar.hub.layout import has_size, manifest_of
from mlx_sidecar.models import directory
from mlx_sidecar.models.files import MOST_FILES, files_in
from mlx_sidecar.models.hugging_face_cache import cache_folder, unreadable
from mlx_sidecar.protocol.responses import ListedModel, Quantization

_DEEPEST = 3
"""How far below a folder its models are looked for: folder/owner/name."""

CONFIG = "config.json"
_BETWEEN_PAUSES = 1000


def cached_models() -> Iterator[list[ListedModel]]:
    """Every model snapshot in the cache, folder by folder: each takes its time, and most hold none.

    What can't be looked into is listed as incomplete. Raises ModelNotFound where that is the whole cache.
    """
    cache = cache_folder()
    try:
        repositories = yield from _folders_in(cache)
    except OSError as error:
        # One that nothing was put into yet is no failure, one behind a link to nothing is.
        if isinstance(error, FileNotFoundError) and not cache.is_symlink():
            return
        raise unreadable("the Hugging Face cache", error) from None
    for repository in repositories:
        kind, _, repo_id = repository.name.partition("--")
        if kind == "models" and repo_id:
            yield from _snapshots_listed(repository, repo_id.replace("--", "/"))


def _snapshots_listed(repository: Path, name: str) -> Iterator[list[ListedModel]]:
    try:
        for snapshot in (yield from _folders_in(repository / "snapshots")):
            there = _may_hold_config(snapshot)
            yield [_listed(snapshot, name, repo_id=name, revision=snapshot.name)] if there else []
    except FileNotFoundError:
        return
    except OSError:
        yield [_listed(repository, name, repo_id=name)]


def models_in(folder: Path) -> Iterator[list[ListedModel]]:
    """Every model folder at or below `folder`, likewise. Raises InvalidParams if it isn't a folder that can be read."""
    if not folder.is_dir():
        raise InvalidParams(f"field 'folder': '{folder}' is not a folder", {"field": "folder"})
    try:
        os.scandir(folder).close()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InvalidParams(f"field 'folder': '{folder}' can't be read: {reason}", {"field": "folder"}) from None
    return _models_below(folder, folder, _DEEPEST)


def _models_below(top: Path, folder: Path, depth: int) -> Iterator[list[ListedModel]]:
    with contextlib.suppress(OSError):
        if (folder / CONFIG).exists():
            yield [_listed(folder, folder.name if folder == top else folder.relative_to(top).as_posix())]
            return
        for child in (yield from _folders_in(folder)) if depth > 0 else ():
            yield from _models_below(top, child, depth - 1)


def _may_hold_config(snapshot: Path) -> bool:
    with contextlib.suppress(OSError):
        return (snapshot / CONFIG).exists()
    return True


def _folders_in(folder: Path) -> Generator[list[ListedModel], None, list[Path]]:
    """Its directory. Yields an empty list now and then: it may hold very much. Raises OSError."""
    found = list[Path]()
    yield []
    with os.scandir(folder) as entries:
        for number, entry in enumerate(entries, 1):
            # A link may lead to where nobody may look.
            with contextlib.suppress(OSError):
                if entry.is_dir():
                    found.append(Path(entry.path))
            if number % _BETWEEN_PAUSES == 0:
                yield []
    return sorted(found)


def _listed(
    path: Path, name: str, *, repo_id: str | UnsetType = UNSET, revision: str | UnsetType = UNSET
) -> ListedModel:
    model_type, quantization = _kind_of(path)
    return ListedModel(
        name=name,
        path=str(path),
        repo_id=repo_id,
        revision=revision,
        size_bytes=_size(path),
        model_type=model_type,
        quantization=quantization,
        complete=_is_complete(path),
    )


def _kind_of(path: Path) -> tuple[str | None, Quantization | None]:
    try:
        config = directory.read_config(path)
    except SidecarError:
        return None, None
    stated = directory.quantization_of(config)
    return config["model_type"], convert(stated, Quantization) if stated is not None else None


def _size(path: Path) -> int:
    """Bytes of the model's own files: those where it is loaded from, whatever else lies in folders below."""
    return sum(_bytes_of(file) for file in islice(files_in(path), MOST_FILES))


def _bytes_of(file: Path) -> int:
    with contextlib.suppress(OSError):
        found = file.stat()
        return found.st_size if stat.S_ISREG(found.st_mode) else 0
    return 0


def _is_complete(path: Path) -> bool:
    """Whether all is there: what a manifest names, in its sizes, and what config.json and the index name."""
    try:
        plan = manifest_of(path)
        if plan is not None and not all(has_size(path / file.path, file) for file in plan.files):
            return False
        directory.check(path)
    except (SidecarError, OSError):
        return False
    return True
