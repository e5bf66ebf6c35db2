"""One thing to ask in a job, read when its turn comes."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from msgspec import Struct

from mlx_sidecar.client.failures import ClientError
from mlx_sidecar.client.prepared_request import PreparedRequest
from mlx_sidecar.errors import SidecarError
from mlx_sidecar.library.results import Subject
from mlx_sidecar.protocol import limits

MOST_BYTES = limits.MAX_LINE_BYTES
"""The worker's longest request line; what is longer alone can't fit into one."""


class Item(Struct, frozen=True):
    """A subject with its digest, and what to ask about it, or why there is nothing to ask."""

    subject: Subject
    digest: str | None
    command: str
    ask: PreparedRequest[Any] | SidecarError | ClientError
    warnings: tuple[str, ...] = ()
    """What the worker would warn of, were it asked as the item was written."""


def digest_of(data: bytes) -> str:
    """SHA-256, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def job_of(command: str, model: str, options: dict[str, Any]) -> str:
    """A short name for what is asked of every subject, the same as long as command, model and options are."""
    return digest_of(json.dumps([command, model, options], sort_keys=True).encode())[:16]
