"""The Python client: a client with its own worker, for threads (`Client`) and for asyncio (`AsyncClient`).

    from mlx_sidecar.client import Client

    with Client("demo") as client:
        print(client.tags("Prune the roses in early spring.").tags)

Quotes of `evidence` have their places as Python counts: `content[quote.start : quote.end]`.

`core` is sans-I/O; `blocking` and `aio` drive it. This package imports neither MLX nor anything else that only the
worker needs, and asyncio only with `AsyncClient`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlx_sidecar.client.blocking import Client, Stream
from mlx_sidecar.client.failures import ClientClosed, ClientError, WorkerEnded, WorkerFailed, WorkerNotStarted
from mlx_sidecar.client.restarts import Restarts
from mlx_sidecar.errors import SidecarError
from mlx_sidecar.protocol.requests import Label, LabelExample, Message, SummaryExample, TagsExample

if TYPE_CHECKING:
    from mlx_sidecar.client.aio import AsyncClient, AsyncStream

__all__ = [
    "AsyncClient",
    "AsyncStream",
    "Client",
    "ClientClosed",
    "ClientError",
    "Label",
    "LabelExample",
    "Message",
    "Restarts",
    "SidecarError",
    "Stream",
    "SummaryExample",
    "TagsExample",
    "WorkerEnded",
    "WorkerFailed",
    "WorkerNotStarted",
]


def __getattr__(name: str) -> Any:
    if name in ("AsyncClient", "AsyncStream"):
        from mlx_sidecar.client import aio

        return getattr(aio, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
