"""The models that are on this machine: in the Hugging Face cache, or in a folder. Reads only, never fetches."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Generator, Iterator
from itertools import islice
from pathlib import Path

from msgspec import UNSET, Struct, UnsetType, convert

from mlx_sidecar.errors import InvalidParams, SidecarError
from mlx_sidecar.hub.gguf_listing import gguf_models, ollama_models
from mlx_sidecar.hub.layout import has_size, manifest_of
from mlx_sidecar.models import directory, ollama
from mlx_sidecar.models.files import MOST_FILES, files_in
from mlx_sidecar.models.gguf.files import SUFFIX
from mlx_sidecar.models.hugging_face_cache import cache_folder, unreadable
from mlx_sidecar.protocol.responses import ListedModel, Quantization

_DEEPEST = 3
"""How far below a folder its models are looked for: folder/owner/name."""

CONFIG = "config.json"
_BETWEEN_PAUSES = 1000


class _Entries(Struct):
    """What is in a folder, as far as models go."""

    folders: list[Path] = []
    gguf_files: list[Path] = []
    has_safetensors: bool = False

    def take(self, entry: os.DirEntry[str]) -> None:
        """One more of its entries. Raises OSError where that is a link to where nobody may look."""
        name = entry.name.lower()
        self.has_safetensors |= name.endswith(".safetensors")
        if entry.is_dir():
            self.folders.append(Path(entry.path))
        elif name.endswith(SUFFIX) and entry.is_file() and len(self.gguf_files) < MOST_FILES:
            self.gguf_files.append(Path(entry.path))


def cached_models() -> Iterator[list[ListedModel]]:
    """Every model in the snapshots of the cache, folder by folder: each takes its time, and most hold none.

    What can't be looked into is listed as incomplete. Raises ModelNotFound where that is the whole cache.
    """
    cache = cache_folder()
    try:
        repositories = (yield from _entries_of(cache)).folders
    except OSError as error:
        # One that nothing was put into yet is no failure, one behind a link to nothing is.
        if isinstance(error, FileNotFoundError) and not cache.is_symlink():
            return
        raise unreadable("the Hugging Face cache", error) from None
    for repository in repositories:
        kind, _, repo_id = repository.name.partition("--")
        if kind == "models" and repo_id:
            yield from _repository_listed(repository, repo_id.replace("--", "/"))


def _repository_listed(repository: Path, name: str) -> Iterator[list[ListedModel]]:
    try:
        for snapshot in (yield from _entries_of(repository / "snapshots")).folders:
            yield from _snapshot_listed(snapshot, name)
    except FileNotFoundError:
        return
    except OSError:
        yield [_listed(repository, name, repo_id=name)]


def _snapshot_listed(snapshot: Path, name: str) -> Iterator[list[ListedModel]]:
    """The folder as a model, and its GGUF files, some of which lie a folder below."""
    revision = snapshot.name
    try:
        there = yield from _entries_of(snapshot)
    except OSError:
        yield [_listed(snapshot, name, repo_id=name, revision=revision)]
        return
    found = list(there.gguf_files)
    for folder in there.folders:
        with contextlib.suppress(OSError):
            found += (yield from _entries_of(folder)).gguf_files
    if _may_hold_config(snapshot) and (there.has_safetensors or not found):
        yield [_listed(snapshot, name, repo_id=name, revision=revision)]
    yield from gguf_models(found, snapshot, f"{name}/", repo_id=name, revision=revision)


def models_in(folder: Path) -> Iterator[list[ListedModel]]:
    """Every model at or below `folder`, likewise. Raises InvalidParams if it isn't a folder that can be read."""
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
        above = "" if folder == top else f"{folder.relative_to(top).as_posix()}/"
        if ollama.is_store(folder):
            yield from ollama_models(folder, above)
            return
        there = yield from _entries_of(folder)
        is_model = (folder / CONFIG).exists()
        if is_model and (there.has_safetensors or not there.gguf_files):
            yield [_listed(folder, above.rstrip("/") or folder.name)]
        yield from gguf_models(there.gguf_files, folder, above)
        for child in there.folders if depth > 0 and not is_model else ():
            yield from _models_below(top, child, depth - 1)


def _may_hold_config(snapshot: Path) -> bool:
    with contextlib.suppress(OSError):
        return (snapshot / CONFIG).exists()
    return True


def _entries_of(folder: Path) -> Generator[list[ListedModel], None, _Entries]:
    """Its directory. Yields an empty list now and then: it may hold very much. Raises OSError."""
    found = _Entries()
    yield []
    with os.scandir(folder) as entries:
        for number, entry in enumerate(entries, 1):
            with contextlib.suppress(OSError):
                found.take(entry)
            if number % _BETWEEN_PAUSES == 0:
                yield []
    found.folders.sort()
    return found


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
