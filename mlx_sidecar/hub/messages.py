"""Messages between the worker and a download's child process: one JSON object a line."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

DEFAULT_STALL_S = 15.0
CHILD_ARGUMENT = "--download-child"
"""Makes a bundle's program the child: there `sys.executable` is the worker, without `-c`."""


class DownloadRequest(Struct, frozen=True, kw_only=True, tag="download"):
    """What to fetch; `destination` is an absolute folder, none is the Hugging Face cache."""

    repo_id: str
    destination: str | None = None
    revision: str | None = None
    allow_patterns: list[str] | None = None
    gguf_file: str | None = None
    stall_s: float = DEFAULT_STALL_S


class SizesRequest(Struct, frozen=True, kw_only=True, tag="sizes"):
    """The model whose headers to read; a number that GGUF doesn't quantize takes `float_bytes` on this device."""

    repo_id: str
    revision: str | None = None
    gguf_file: str | None = None
    float_bytes: int
    stall_s: float = DEFAULT_STALL_S


ChildRequest = DownloadRequest | SizesRequest
"""What a child process is started for."""


class DownloadProgress(Struct, frozen=True, kw_only=True, tag="progress"):
    """Progress. Bytes count what was on the disk before; `bytes_per_s` is of the network alone."""

    downloaded_bytes: int
    total_bytes: int
    bytes_per_s: float
    eta_s: float | None
    file: str | None
    files_done: int
    files_total: int
    stalled_s: float = 0.0


class Completed(Struct, frozen=True, kw_only=True, tag="completed"):
    """All files are at their paths."""

    destination: str
    revision: str
    files: int
    total_bytes: int
    resumed_bytes: int


class SizesRead(Struct, frozen=True, kw_only=True, tag="sizes"):
    """What the headers say; `per_token` has a cache's bytes by the window of the layers."""

    model_type: str
    quantization: dict[str, Any] | None
    weight_bytes: int
    per_token: dict[int, int]
    context_length: int


class Failed(Struct, frozen=True, kw_only=True, tag="failed"):
    """The download failed; what it received is kept for the next try. `code` is the protocol's."""

    code: str
    message: str
    data: dict[str, Any] = {}


Message = DownloadProgress | Completed | SizesRead | Failed


def encode(message: ChildRequest | Message) -> bytes:
    """One line."""
    try:
        return msgspec.json.encode(message) + b"\n"
    except UnicodeEncodeError:
        # A folder's name that isn't UTF-8: Python's own JSON escapes lone surrogates, and reads them again.
        import json

        return json.dumps(msgspec.to_builtins(message)).encode() + b"\n"


def decode_message(line: bytes) -> Message:
    """Read a child's message. Raises msgspec.DecodeError."""
    message: Message = _decoded(line, Message)
    return message


def decode_request(line: bytes) -> ChildRequest:
    """Read a child's request. Raises msgspec.DecodeError."""
    request: ChildRequest = _decoded(line, ChildRequest)
    return request


def _decoded(line: bytes, kind: Any) -> Any:
    try:
        return msgspec.json.decode(line, type=kind)
    except msgspec.DecodeError:
        if b"\\ud" not in line:
            raise
    import json

    try:
        return msgspec.convert(json.loads(line), kind)
    except (ValueError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from None
