"""The model sources: the embedded model, a path, a GGUF file or a repository in the Hugging Face cache.

To add one: a module with a `ModelSource`, and a line here. The first that matches a reference takes it.
"""

from __future__ import annotations

import re

from mlx_sidecar.errors import InvalidParams, ModelNotFound
from mlx_sidecar.models.gguf.choice import gguf_within
from mlx_sidecar.models.gguf.files import SUFFIX
from mlx_sidecar.models.resolve import DEMO, Location, absolute, at_path, in_cache, is_file, is_folder
from mlx_sidecar.models.source import ModelSource

_EMBEDDED = ModelSource("model_path", lambda reference: reference == DEMO, at_path)
_PATH = ModelSource(
    "model_path",
    lambda reference: is_folder(reference) or is_file(reference),
    at_path,
    lambda reference: str(absolute(reference).resolve()),
)


def _in_cached_repository(reference: str) -> Location:
    """owner/name/file.gguf, as list-models calls it."""
    owner, name, gguf_file = reference.split("/", 2)
    return gguf_within(in_cache(f"{owner}/{name}"), gguf_file)


def _is_in_cached_repository(reference: str) -> bool:
    if not re.fullmatch(r"[\w.-]+/[\w.-]+/.+\.gguf", reference) or is_file(reference):
        return False
    try:
        return _in_cached_repository(reference).path.is_file()
    except (InvalidParams, ModelNotFound):
        return False


_CACHED_FILE = ModelSource("model_path", _is_in_cached_repository, _in_cached_repository)
_CACHED = ModelSource(
    "repo_id",
    lambda reference: re.fullmatch(r"[\w.-]+/[\w.-]+", reference) is not None and not reference.endswith(SUFFIX),
    lambda repo_id: in_cache(repo_id),
)

SOURCES: tuple[ModelSource, ...] = (
    _EMBEDDED,
    _CACHED_FILE,
    _PATH,
    _CACHED,
)
"""In the order in which they are tried: a folder wins over a repository with the same name."""


def source_of(reference: str) -> ModelSource:
    """The source of a reference, as a person or `--model` writes it. Raises ModelNotFound."""
    for source in SOURCES:
        if source.matches(reference):
            return source
    kind = "file" if reference.endswith(SUFFIX) else "folder"
    raise ModelNotFound(
        f"the model {kind} '{reference:.200}' does not exist; give the folder that holds config.json, or a GGUF file"
    )


def located(field: str, reference: str) -> Location:
    """Where the model of a field of `load-model` lies. Raises ModelNotFound or InvalidParams."""
    candidates = [source for source in SOURCES if source.field == field]
    # Without a match the last one says what is wrong with the reference.
    source = next((source for source in candidates if source.matches(reference)), candidates[-1])
    return source.locate(reference)
