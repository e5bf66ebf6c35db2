"""What a download's child process is told, and what it says: one JSON object a line."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from msgspec import Struct

DEFAULT_STALL_S = 15.0
CHILD_ARGUMENT = "--download-child"
"""What makes a bundle's program the child: there `sys.executable` is the worker, and knows no `-c`."""


class Order(Struct, frozen=True, kw_only=True):
    """What to fetch; `destination` is an absolute folder, none is the Hugging Face cache."""

    repo_id: str
    destination: str | None = None
    revision: str | None = None
    allow_patterns: list[str] | None = None
    stall_s: float = DEFAULT_STALL_S


class Advanced(Struct, frozen=True, kw_only=True, tag="advanced"):
    """How far it is. Bytes count what was there before, `bytes_per_s` only what came over the network just now."""

    downloaded_bytes: int
    total_bytes: int
    bytes_per_s: float
    eta_s: float | None
    file: str | None
    files_done: int
    files_total: int
    stalled_s: float = 0.0


class Completed(Struct, frozen=True, kw_only=True, tag="completed"):
    """All files are in their place."""

    destination: str
    revision: str
    files: int
    total_bytes: int
    resumed_bytes: int


class Failed(Struct, frozen=True, kw_only=True, tag="failed"):
    """It ended without; what came is kept for the next time. `code` is the protocol's."""

    code: str
    message: str
    data: dict[str, Any] = {}


Message = Advanced | Completed | Failed


def encode(message: Order | Message) -> bytes:
    """One line."""
    try:
        return msgspec.json.encode(message) + b"\n"
    except UnicodeEncodeError:
        # The name of a folder that isn't UTF-8: Python's own JSON has a word for such, and reads it again.
        return json.dumps(msgspec.to_builtins(message)).encode() + b"\n"


def decode_message(line: bytes) -> Message:
    """Read what a child said. Raises msgspec.DecodeError."""
    message: Message = _decoded(line, Message)
    return message


def decode_order(line: bytes) -> Order:
    """Read what a child is to do. Raises msgspec.DecodeError."""
    order: Order = _decoded(line, Order)
    return order


def _decoded(line: bytes, kind: Any) -> Any:
    try:
        return msgspec.json.decode(line, type=kind)
    except msgspec.DecodeError:
        if b"\\ud" not in line:
            raise
    try:
        return msgspec.convert(json.loads(line), kind)
    except (ValueError, RecursionError) as problem:
        raise msgspec.DecodeError(str(problem)) from None
