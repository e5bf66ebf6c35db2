"""Opens what lies in a model folder: regular files, of a size that a model's files have. Imports no MLX.

A folder may hold a pipe that nobody writes to, or a link to a device that has no
end; whoever reads them never comes back. mlx_lm and transformers open files on
their own, so a folder is looked through before they see it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from mlx_sidecar.errors import ModelInvalid

MOST_SETTINGS_BYTES = 64 * 1024 * 1024
"""The index of a model with a trillion weights has about 20 MB; all other settings are far smaller."""

MOST_CONFIG_BYTES = 4 * 1024 * 1024
"""Of config.json. Where each layer has its own quantization it has some hundred thousand."""

MOST_TOKENIZER_BYTES = 256 * 1024 * 1024
"""The largest tokenizer.json that is in use has about 35 MB."""

MOST_FILES = 4096
"""Beside each other in a model folder. The models with the most shards have some hundred files."""

_SETTINGS = ("config.json", ".jinja")
_READ_WHOLE = {".json", ".jinja", ".txt", ".model", ".tiktoken"}
_PLACES = (".", "additional_chat_templates")
"""Where mlx_lm and transformers look for files."""


def open_file(file: Path, most_bytes: int | None = None) -> BinaryIO:
    """Open without ever waiting. Raises OSError, also for what is no regular file or has more bytes than that."""
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
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
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        raise OSError("it is no regular file")
    if most_bytes is not None and found.st_size > most_bytes:
        raise OSError(f"it has {found.st_size} bytes, and {most_bytes} are read at most")
    # Some of /proc look like empty files and never end.
    if os.pread(descriptor, 1, found.st_size):
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
        raise OSError("it is no regular file")
    if file.suffix in _READ_WHOLE:
        most_bytes = MOST_SETTINGS_BYTES if file.name.endswith(_SETTINGS) else MOST_TOKENIZER_BYTES
        open_file(file, most_bytes).close()
