"""Opens what lies in a model folder: plain files, of a size that a model's files have. Imports no MLX.

A folder may hold a pipe that nobody writes to, or a link to a device that has no
end; whoever reads them never comes back. mlx_lm and transformers open files on
their own, so a folder is looked through before they see it.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from mlx_sidecar.errors import ModelInvalid
from mlx_sidecar.plain_file import open_plain

# What is read of a folder, at most. JSON takes up to fifty times its bytes when it is parsed, and nobody is answered
# meanwhile, so the limits stay near what sound models have.

MOST_SETTINGS_BYTES = 8 * 1024 * 1024
"""For settings and templates. tokenizer_config.json is the largest: Gemma's lists 6,000 tokens in 1.2 MB."""

MOST_INDEX_BYTES = 32 * 1024 * 1024
"""For model.safetensors.index.json: that of a model with a trillion weights has about 20 MB."""

MOST_TOKENIZER_BYTES = 64 * 1024 * 1024
"""For tokenizer.json and all other vocabularies; the largest in use have about 35 MB."""

MOST_HEADER_BYTES = 16 * 1024 * 1024
"""For the header of one safetensors file: room for 100,000 tensors, and files have some thousands."""

MOST_VALUES = 5_000_000
"""In one file, as `parse_json` counts them: a vocabulary of 262,144 tokens with its merges has 1.8 million."""

MOST_TENSOR_VALUES = 1_000_000
"""In a header, nine for each tensor, in the index, one for each, in config.json, a few for some."""

MOST_FILES = 4096
"""Beside each other in a model folder. The models with the most shards have some hundred files."""

_MOST_BYTES = {
    "config.json": MOST_SETTINGS_BYTES,
    "tokenizer_config.json": MOST_SETTINGS_BYTES,
    "generation_config.json": MOST_SETTINGS_BYTES,
    "special_tokens_map.json": MOST_SETTINGS_BYTES,
    "adapter_config.json": MOST_SETTINGS_BYTES,
    "model.safetensors.index.json": MOST_INDEX_BYTES,
}
_READ_WHOLE = {".json", ".jinja", ".txt", ".model", ".tiktoken"}
_PLACES = (".", "additional_chat_templates")
"""Where mlx_lm and transformers look for files."""


def open_file(file: Path, most_bytes: int | None = None) -> BinaryIO:
    """Open without ever waiting. Raises OSError, also for what is no plain file or has more bytes than that."""
    descriptor = open_plain(file)
    try:
        _check(descriptor, most_bytes)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_file(file: Path, most_bytes: int) -> bytes:
    """All that it holds. Raises OSError as `open_file` does."""
    with open_file(file, most_bytes) as stream:
        return stream.read(most_bytes)


def parse_json(raw: bytes, most_values: int) -> dict[str, Any]:
    """A JSON object. Raises ValueError where it is none, or has so many values that parsing it takes too much."""
    _count_values(raw, most_values)
    value = json.loads(raw)
    if not isinstance(value, dict):
        raise ValueError("it holds no JSON object")
    return value


def check_values(file: Path) -> None:
    """Raise ModelInvalid where a JSON file that others will parse has too many values."""
    try:
        _count_values(read_file(file, _most_bytes(file)), MOST_VALUES)
    except (OSError, ValueError) as problem:
        raise ModelInvalid(f"{file} can't be read: {problem}", {"file": file.name}) from None


def _count_values(raw: bytes, most_values: int) -> None:
    """Each value but the first stands behind one of these; what strings have of them is counted, too."""
    found = sum(raw.count(mark) for mark in (b",", b"[", b"{"))
    if found > most_values:
        raise ValueError(f"it has {found} values, and {most_values} are read at most")


def look_through(folder: Path) -> None:
    """Raise ModelInvalid where a file of the folder can't be read to its end, naming it; or for far too many files."""
    files = list(islice(files_in(folder), MOST_FILES + 1))
    if len(files) > MOST_FILES:
        raise ModelInvalid(f"{folder} holds more than {MOST_FILES} files, so it is no model's folder", {})
    for file in sorted(files):
        try:
            _look_at(file)
        except OSError as problem:
            raise ModelInvalid(f"{file} can't be read: {problem}", {"file": file.name}) from None


def files_in(folder: Path) -> Iterator[Path]:
    """What lies where mlx_lm and transformers look for a model's files, folders included."""
    for place in _PLACES:
        try:
            with os.scandir(folder / place) as entries:
                for entry in entries:
                    yield Path(entry.path)
        except OSError:
            continue


def _check(descriptor: int, most_bytes: int | None) -> None:
    size = os.fstat(descriptor).st_size
    if most_bytes is not None and size > most_bytes:
        raise OSError(f"it has {size} bytes, and {most_bytes} are read at most")
    # Some of /proc look like empty files and never end.
    if os.pread(descriptor, 1, size):
        raise OSError("it holds more than its size says")


def _look_at(file: Path) -> None:
    """Only what may be read is opened: pickles never are."""
    try:
        mode = file.stat().st_mode
    except OSError:
        # A link to nothing. Whoever needs it will say so.
        return
    if stat.S_ISDIR(mode):
        return
    if not stat.S_ISREG(mode):
        raise OSError("it is no plain file")
    if file.suffix in _READ_WHOLE:
        open_file(file, _most_bytes(file)).close()


def _most_bytes(file: Path) -> int:
    return MOST_SETTINGS_BYTES if file.suffix == ".jinja" else _MOST_BYTES.get(file.name, MOST_TOKENIZER_BYTES)
