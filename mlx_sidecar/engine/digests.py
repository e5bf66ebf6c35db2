"""Digests of what an answer depends on: the model's files, its adapter's, its chat template.

hashlib loads OpenSSL, so it is imported where it is used: the first answer of all shouldn't wait.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

from msgspec import Struct

from mlx_sidecar.models.gguf.files import split_of

_PIECE_BYTES = 8 * 2**20
_SETTINGS = frozenset(
    {
        *("config.json", "generation_config.json", "adapter_config.json", "tokenizer.json", "tokenizer_config.json"),
        *("special_tokens_map.json", "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt"),
    }
)
_TOKENIZER_SUFFIXES = frozenset({".model", ".tiktoken"})
"""SentencePiece's, under any name, and tiktoken's."""

_SHA256 = r"[0-9a-f]{64}"


class FileDigests(Struct, frozen=True):
    """SHA-256 in hexadecimal, of a model's files and its adapter's."""

    model: str
    adapter: str | None = None


class ModelDigests(Struct, frozen=True):
    """The same, and of the chat template."""

    model: str
    template: str
    adapter: str | None = None


class DigestReading:
    """Reads the files once, a piece at a time, however many wait for it."""

    def __init__(self, path: Path, adapter_path: Path | None) -> None:
        self._path, self._adapter_path = path, adapter_path
        self._pieces: Generator[None, None, FileDigests] | None = None
        self._found: FileDigests | None = None

    def digests(self) -> Generator[None, None, FileDigests]:
        """Read on, whoever began. Raises OSError; the next one who asks begins again then."""
        while self._found is None:
            self._pieces = self._pieces or file_digests(self._path, self._adapter_path)
            try:
                next(self._pieces)
            except StopIteration as finished:
                self._found = finished.value
            except OSError:
                self._pieces = None
                raise
            else:
                yield
        return self._found


def with_template(found: FileDigests, template: str | None) -> ModelDigests:
    """Those of the files, and the template's."""
    import hashlib

    return ModelDigests(found.model, hashlib.sha256((template or "").encode()).hexdigest(), found.adapter)


def file_digests(path: Path, adapter_path: Path | None) -> Generator[None, None, FileDigests]:
    """Read the files, a piece at a time. Raises OSError."""
    model = yield from _folder(path)
    return FileDigests(model, (yield from _folder(adapter_path)) if adapter_path is not None else None)


def _folder(path: Path) -> Generator[None, None, str]:
    """Of the names and contents of all files that change an answer: weights, settings, the tokenizer's.

    But for what has a digest of its own: the chat template, and the words that tasks are asked with. A GGUF file has
    all in it, so that its name doesn't count.
    """
    import hashlib

    whole = hashlib.sha256()
    if path.is_file():
        split = split_of(path.name)
        for file in [path.with_name(name) for name in split.names] if split else [path]:
            digest = yield from _file(file)
            whole.update(f"{digest}\n".encode())
        return whole.hexdigest()
    for file in sorted(path.iterdir()):
        if file.suffix == ".safetensors" or file.suffix in _TOKENIZER_SUFFIXES or file.name in _SETTINGS:
            digest = yield from _file(file)
            whole.update(f"{file.name} {digest}\n".encode())
    return whole.hexdigest()


def _file(file: Path) -> Generator[None, None, str]:
    import hashlib
    import re

    # In the Hugging Face cache a large file is a link to one that is named by its digest.
    if file.is_symlink() and re.fullmatch(_SHA256, name := file.resolve().name):
        return name
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while piece := stream.read(_PIECE_BYTES):
            digest.update(piece)
            yield
    return digest.hexdigest()
