"""Ollama's store, as far as its models are GGUF files: manifests by names, and blobs by their digests. Reads only.

A manifest lies at manifests/HOST/OWNER/NAME/TAG and lists layers; that of the model is a GGUF file in blobs.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from msgspec import Struct

from mlx_sidecar.models.files import parse_json, read_file

_HOST, _OWNER = "registry.ollama.ai", "library"
"""What a name leaves out."""

_LEVELS = 4
_MODEL_LAYER = "application/vnd.ollama.image.model"
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_MOST_MANIFESTS = 10_000
_MOST_BYTES = 256 * 1024
_MOST_VALUES = 10_000


class OllamaModel(Struct, frozen=True):
    """A model by the name that Ollama knows, its GGUF file, and the bytes that this should have."""

    name: str
    path: Path
    size_bytes: int


def is_store(folder: Path) -> bool:
    """Whether Ollama keeps its models there."""
    return (folder / "manifests").is_dir() and (folder / "blobs").is_dir()


def models_in(store: Path) -> Iterator[OllamaModel | None]:
    """One for each tag whose manifest can be read, in their order; None for any other file."""
    for number, manifest in enumerate(_files_below(store / "manifests", _LEVELS)):
        if number == _MOST_MANIFESTS:
            return
        yield _read(store, manifest)


def _files_below(folder: Path, levels: int) -> Iterator[Path]:
    """Those at exactly that level. Links are Ollama's nowhere, and may lead in circles."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda each: each.name):
            if levels == 1 and entry.is_file(follow_symlinks=False):
                yield Path(entry.path)
            elif levels > 1 and entry.is_dir(follow_symlinks=False):
                yield from _files_below(Path(entry.path), levels - 1)


def _read(store: Path, manifest: Path) -> OllamaModel | None:
    try:
        stated = parse_json(read_file(manifest, _MOST_BYTES), _MOST_VALUES)
    except (OSError, ValueError, RecursionError):
        return None
    layers = stated.get("layers")
    for layer in layers if isinstance(layers, list) else ():
        if isinstance(layer, dict) and layer.get("mediaType") == _MODEL_LAYER:
            return _model(store, manifest, layer)
    return None


def _model(store: Path, manifest: Path, layer: dict[str, Any]) -> OllamaModel | None:
    digest, size = _DIGEST.fullmatch(str(layer.get("digest"))), layer.get("size")
    if digest is None or type(size) is not int or size < 0:
        return None
    host, owner, name, tag = manifest.relative_to(store / "manifests").parts
    place = "" if (host, owner) == (_HOST, _OWNER) else f"{owner}/" if host == _HOST else f"{host}/{owner}/"
    return OllamaModel(f"{place}{name}:{tag}", store / "blobs" / f"sha256-{digest[1]}", size)
