"""What a call of a client is: a request that was checked, and who hears of its progress.

`Client` and `AsyncClient` turn the functions of `calls` into methods through `ParamSpec`, so both have the same
arguments. The price: `help(client.tags)` shows the description, but not the arguments.

`Client` and `AsyncClient` turn the functions of `calls` into methods through `ParamSpec`, so both have the same
arguments. The price: `help(client.tags)` shows the description, but not the arguments.
"""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar

import msgspec

from mlx_sidecar.errors import InvalidParams
from mlx_sidecar.protocol.requests import Request
from mlx_sidecar.protocol.responses import DownloadMeasure, Measure, Result

ResultT = TypeVar("ResultT", bound=Result)
P = ParamSpec("P")
OnProgress = Callable[[Measure], object]
StrPath = str | os.PathLike[str]
OnDownload = Callable[[DownloadMeasure], object]


class Ask(Generic[ResultT]):
    """A request, who hears how far it is, and, for type checkers, what its answer is."""

    __slots__ = ("on_progress", "request")

    def __init__(self, request: Request, on_progress: Callable[[Any], object] | None = None) -> None:
        self.request, self.on_progress = request, on_progress

    def streamed(self) -> Ask[ResultT]:
        """The same, its text in pieces."""
        return Ask(msgspec.structs.replace(self.request, stream=True), self.on_progress)


def build_ask(describe: Callable[P, Ask[ResultT]], *args: P.args, **options: P.kwargs) -> Ask[ResultT]:
    """What one of these functions makes. Raises InvalidParams where the worker would refuse it for what it is."""
    try:
        ask = describe(*args, **options)
    except ValueError as problem:
        raise InvalidParams(str(problem)) from None
    _check(ask.request)
    return ask


def introduce(method: Callable[..., Any], describe: Callable[..., Ask[Any]], name: str, gives: str) -> None:
    """Let `help`, editors and `inspect` see a method as what it takes, not as `*args`. `gives` has `{}` for the result.

    Its docstring is the function's, whose result is what `Ask` holds.
    """
    signature = inspect.signature(describe)
    result = str(signature.return_annotation).removeprefix("Ask[").removesuffix("]")
    client = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    parameters = [client, *signature.parameters.values()]
    method.__name__ = name
    method.__doc__ = describe.__doc__
    # What mypy has no word for.
    vars(method)["__signature__"] = inspect.Signature(parameters, return_annotation=gives.format(result))


def _check(request: Request) -> None:
    """What Python took, the worker may not, or may take for something else: bytes would come as base64."""
    try:
        fields = msgspec.to_builtins(request, builtin_types=(bytes, bytearray, memoryview))
        msgspec.convert(fields, type(request))
    except msgspec.ValidationError:
        # Only now: the words are the worker's, and so is what they need.
        from mlx_sidecar.protocol.codec import convert

        convert(fields, type(request))
    except RecursionError:
        raise InvalidParams("a value is nested too deeply, or in itself") from None
    except (TypeError, ValueError, OverflowError) as problem:
        raise InvalidParams(f"a value has no place in JSON: {problem}") from None
    if request.timeout_s is not None and not math.isfinite(request.timeout_s):
        raise InvalidParams("field 'timeout_s': expected a number of seconds; none is for ever", {"field": "timeout_s"})


def text_of(path: StrPath | None) -> str | None:
    """A path as the request has it."""
    return os.fspath(path) if isinstance(path, os.PathLike) else path
