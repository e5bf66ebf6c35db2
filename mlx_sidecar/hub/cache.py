"""The models that are on this machine: in the Hugging Face cache, or in a folder. Reads only, never fetches."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Generator, Iterator
from itertools import islice
from pathlib import Path

from msgspec import UNSET, UnsetType, convert

from mlx_sidecar.engine import folder as folders
from mlx_sidecar.engine.model_file import MOST_FILES, files_in
from mlx_sidecar.errors import InvalidParams, ModelNotFound, SidecarError
from mlx_sidecar.hub.layout import check_repo_id, has_size, manifest_of, repository_folder
from mlx_sidecar.protocol.responses import ListedModel, Quantization

_DEEPEST = 3
"""How far below a folder its models are looked for: folder/owner/name."""

CONFIG = "config.json"
_BETWEEN_PAUSES = 1000


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
        raise _unreadable(f"what the Hugging Face cache has of '{repo_id}'", problem) from None
    if not others:
        raise ModelNotFound(f"'{repo_id}' is not in the Hugging Face cache; fetch it with download-model first")
    return others[-1]


def _snapshots(repository: Path) -> dict[str, Path]:
    try:
        return {entry.name: Path(entry.path) for entry in os.scandir(repository / "snapshots") if entry.is_dir()}
    except FileNotFoundError:
        return {}


def _unreadable(what: str, problem: OSError) -> ModelNotFound:
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


def cached_models() -> Iterator[list[ListedModel]]:
    """Every model snapshot in the cache, folder by folder: each takes its time, and most hold none.

    What can't be looked into is listed as incomplete. Raises ModelNotFound where that is the whole cache.
    """
    cache = cache_folder()
    try:
        repositories = yield from _folders_in(cache)
    except OSError as problem:
        # One that nothing was put into yet is no failure, one behind a link to nothing is.
        if isinstance(problem, FileNotFoundError) and not cache.is_symlink():
            return
        raise _unreadable("the Hugging Face cache", problem) from None
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
    except OSError as problem:
        reason = problem.strerror or type(problem).__name__
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
    """Its folders. Yields an empty list now and then: it may hold very much. Raises OSError."""
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
        config = folders.read_config(path)
    except SidecarError:
        return None, None
    stated = folders.quantization_of(config)
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
        folders.check(path)
    except (SidecarError, OSError):
        return False
    return True
