"""Which handler a command has. Handlers name themselves: `@handles(Summarize)`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from mlx_sidecar.commands.context import HandlerContext, RequestInfo
from mlx_sidecar.protocol.requests import Request
from mlx_sidecar.protocol.responses import Result
from mlx_sidecar.tasks.task import Task

RequestT = TypeVar("RequestT", bound=Request)
Handler = Callable[[RequestT, RequestInfo, HandlerContext], Task]
Answer = Callable[[RequestT, RequestInfo, HandlerContext], Result]

HANDLERS: dict[type[Request], Handler[Any]] = {}
"""By the struct of the request."""


def handles(kind: type[RequestT]) -> Callable[[Handler[RequestT]], Handler[RequestT]]:
    """This function makes the task of such requests. Each command has one."""

    def note(handler: Handler[RequestT]) -> Handler[RequestT]:
        if kind in HANDLERS:
            raise RuntimeError(f"{kind.__name__} has two handlers")
        HANDLERS[kind] = handler
        return handler

    return note


def answers(kind: type[RequestT]) -> Callable[[Answer[RequestT]], Answer[RequestT]]:
    """This function answers such requests right away."""

    def note(answer: Answer[RequestT]) -> Answer[RequestT]:
        def handler(request: RequestT, call: RequestInfo, context: HandlerContext) -> Task:
            return answer(request, call, context)
            yield  # makes this function a generator

        handles(kind)(handler)
        return answer

    return note
