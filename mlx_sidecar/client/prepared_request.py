"""What a client's call sends: a request that was checked, and the callback for its progress.

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


class PreparedRequest(Generic[ResultT]):
    """A request, its progress callback, and, for type checkers, the type of its result."""

    __slots__ = ("on_progress", "request")

    def __init__(self, request: Request, on_progress: Callable[[Any], object] | None = None) -> None:
        self.request, self.on_progress = request, on_progress

    def streamed(self) -> PreparedRequest[ResultT]:
        """The same request with `stream`."""
        return PreparedRequest(msgspec.structs.replace(self.request, stream=True), self.on_progress)


def prepare(
    describe: Callable[P, PreparedRequest[ResultT]], *args: P.args, **options: P.kwargs
) -> PreparedRequest[ResultT]:
    """The request that one of the functions of `calls` makes. Raises InvalidParams where the worker would refuse it."""
    try:
        prepared = describe(*args, **options)
    except ValueError as error:
        raise InvalidParams(str(error)) from None
    _check(prepared.request)
    return prepared


def copy_signature(
    method: Callable[..., Any], describe: Callable[..., PreparedRequest[Any]], name: str, gives: str
) -> None:
    """Give a method the signature and docstring of a function of `calls`, for `help`, editors and `inspect`.

    `gives` is the return annotation, with `{}` for the function's result type.
    """
    signature = inspect.signature(describe)
    result = str(signature.return_annotation).removeprefix("PreparedRequest[").removesuffix("]")
    client = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    parameters = [client, *signature.parameters.values()]
    method.__name__ = name
    method.__doc__ = describe.__doc__
    # mypy knows no such attribute.
    vars(method)["__signature__"] = inspect.Signature(parameters, return_annotation=gives.format(result))


def _check(request: Request) -> None:
    """Raise InvalidParams for what Python takes and the worker refuses, or reads as something else (bytes: base64)."""
    try:
        fields = msgspec.to_builtins(request, builtin_types=(bytes, bytearray, memoryview))
        msgspec.convert(fields, type(request))
    except msgspec.ValidationError:
        # lazy: the worker's own check words the error, and takes long to import.
        from mlx_sidecar.protocol.codec import convert

        convert(fields, type(request))
    except RecursionError:
        raise InvalidParams("a value is nested too deeply, or in itself") from None
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidParams(f"a value has no place in JSON: {error}") from None
    if request.timeout_s is not None and not math.isfinite(request.timeout_s):
        raise InvalidParams("field 'timeout_s': expected a number of seconds; none is for ever", {"field": "timeout_s"})


def text_of(path: StrPath | None) -> str | None:
    """A path as the text that the request carries."""
    return os.fspath(path) if isinstance(path, os.PathLike) else path
