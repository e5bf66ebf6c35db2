"""From a request to its task."""

from __future__ import annotations

from mlx_sidecar.commands import control, download, estimate, generation, models
from mlx_sidecar.commands.context import HandlerContext, RequestInfo
from mlx_sidecar.commands.handlers import HANDLERS
from mlx_sidecar.protocol.commands import COMMANDS
from mlx_sidecar.protocol.requests import Request
from mlx_sidecar.tasks.task import Task

MODULES = (control, download, estimate, generation, models)
"""Where handlers are. A worker doesn't start where a command has none."""

if missing := [name for name, command in COMMANDS.items() if command.request not in HANDLERS]:
    raise RuntimeError(f"no handler for {', '.join(missing)}; see commands/handlers.py")


def start(request: Request, call: RequestInfo, context: HandlerContext) -> Task:
    """The task of a request. Raises what keeps it from starting."""
    return HANDLERS[type(request)](request, call, context)
