"""Models in GGUF files as `list-models` shows them: one for each file or split set, and those in Ollama's store."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from msgspec import UNSET, UnsetType

from mlx_sidecar.errors import ModelUnsupported, SidecarError
from mlx_sidecar.models import ollama
from mlx_sidecar.models.gguf import files
from mlx_sidecar.models.gguf.architecture import architecture_of
from mlx_sidecar.protocol.responses import ListedModel, Quantization

_PROJECTOR = "clip"
"""What llama.cpp calls the network that turns pictures into tokens: it comes in a file of its own and is no model."""


def gguf_models(
    found: Iterable[Path],
    base: Path,
    prefix: str = "",
    *,
    repo_id: str | UnsetType = UNSET,
    revision: str | UnsetType = UNSET,
) -> Iterator[list[ListedModel]]:
    """One for each file that is no part, and each set; names are paths from `base`, behind `prefix`."""
    sets = dict[Path, list[Path]]()
    for path in found:
        split = files.split_of(path.name)
        sets.setdefault(path if split is None else path.with_name(split.names[0]), []).append(path)
    for first, parts in sorted(sets.items()):
        name = first.relative_to(base).as_posix()
        yield _listed(
            first,
            prefix + name,
            sum(_bytes_of(part) for part in parts),
            repo_id=repo_id,
            revision=revision,
            gguf_file=name if isinstance(repo_id, str) else UNSET,
        )


def ollama_models(store: Path, prefix: str) -> Iterator[list[ListedModel]]:
    """Those of Ollama's store, by the names that Ollama has for them."""
    for model in ollama.models_in(store):
        if model is None:
            yield []
            continue
        size = _bytes_of(model.path)
        yield _listed(model.path, prefix + model.name, size, whole=size == model.size_bytes)


def _listed(
    path: Path,
    name: str,
    size_bytes: int,
    *,
    whole: bool = True,
    repo_id: str | UnsetType = UNSET,
    revision: str | UnsetType = UNSET,
    gguf_file: str | UnsetType = UNSET,
) -> list[ListedModel]:
    """Nothing for what is no language model; what can't be read is incomplete."""
    model_type, quantization, complete = None, None, False
    try:
        model = files.check(path)
        model_type, quantization, complete = model.header.architecture, model.quantization, whole
        if model_type == _PROJECTOR:
            return []
        # What isn't read keeps llama.cpp's name.
        with contextlib.suppress(ModelUnsupported):
            model_type = architecture_of(model.header).model_type
    except (SidecarError, OSError):
        pass
    return [
        ListedModel(
            name=name,
            path=str(path),
            repo_id=repo_id,
            revision=revision,
            gguf_file=gguf_file,
            size_bytes=size_bytes,
            model_type=model_type,
            quantization=Quantization(mode=quantization) if quantization is not None else None,
            complete=complete,
        )
    ]


def _bytes_of(path: Path) -> int:
    with contextlib.suppress(OSError):
        return path.stat().st_size if path.is_file() else 0
    return 0
