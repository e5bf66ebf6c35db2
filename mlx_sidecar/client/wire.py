"""Encodes requests as lines, decodes lines to call events. No I/O, no state.

The client checks the shape of each line (2026-11-26) and ends a worker that writes one of no known shape: a call to a
program that isn't the worker would otherwise never end. It ignores unknown fields and passes on unknown codes.
"""

from __future__ import annotations

import functools
import warnings
from typing import Any

import msgspec
from msgspec import Struct

from mlx_sidecar.client.failures import failure
from mlx_sidecar.errors import InvalidParams
from mlx_sidecar.protocol import limits
from mlx_sidecar.protocol.commands import COMMANDS
from mlx_sidecar.protocol.requests import Request
from mlx_sidecar.protocol.responses import Delta, Measure, Result

_SHOWN_BYTES = 200
_MAX_LEVELS = limits.MAX_LEVELS
"""As deep as the worker reads JSON (§1.7). It reads no id in a deeper line, so its error would fail all calls."""
_TOO_DEEP = f"the request is nested deeper than {_MAX_LEVELS}"


class Ended(Struct, frozen=True):
    """The call ended: its result, or the exception to raise."""

    outcome: Result | Exception
    warnings: tuple[str, ...] = ()

    def result(self) -> Result:
        """The result; warns of what the response warns of, and raises where the outcome is an exception."""
        for warning in self.warnings:
            warnings.warn(warning, stacklevel=4)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


CallEvent = Delta | Measure | Ended


class ReceivedLine(Struct, frozen=True):
    """The event that a line reports, and its call's id; None where the worker couldn't read the request line."""

    id: str | int | None
    event: CallEvent


class ProtocolViolation(Exception):
    """The worker wrote something that isn't a line of the protocol."""

    def __init__(self, line: bytes) -> None:
        super().__init__(repr(line[:_SHOWN_BYTES].decode("utf-8", "replace")))


class _Line(Struct):
    """The fields that lines of all types have."""

    type: str
    command: str
    id: str | int | None = None
    warnings: tuple[str, ...] = ()


class _Error(Struct):
    error: str
    code: str
    retryable: bool
    data: dict[str, Any] = {}


def encode(number: int, request: Request) -> bytes:
    """The line of a request. Raises InvalidParams where the worker couldn't read it."""
    # Last: a request that was read from somewhere may have an id of its own.
    fields = {"command": request.__struct_config__.tag, **_given(request), "id": number}
    try:
        line = msgspec.json.encode(fields) + b"\n"
    except UnicodeEncodeError:
        raise InvalidParams("a text holds half of a surrogate pair, which is no character; replace it") from None
    except RecursionError:
        raise InvalidParams(_TOO_DEEP) from None
    if _levels(fields) > _MAX_LEVELS:
        raise InvalidParams(_TOO_DEEP)
    return line


def _levels(value: Any) -> int:
    """How deep a value is nested. Not by recursion: Python's limit is lower than the worker's."""
    levels, within = 0, [value]
    while within := [each for each in within if isinstance(each, dict | list | tuple)]:
        levels += 1
        within = [part for each in within for part in (each.values() if isinstance(each, dict) else each)]
    return levels


def _given(request: Request) -> dict[str, Any]:
    """The fields that differ from their defaults; the worker fills in the others."""
    defaults, values = _defaults(type(request)), msgspec.structs.asdict(request)
    return {name: value for name, value in values.items() if name not in defaults or value != defaults[name]}


@functools.cache
def _defaults(kind: type[Request]) -> dict[str, Any]:
    found = {}
    for field in msgspec.structs.fields(kind):
        if not field.required:
            found[field.name] = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
    return found


def decode(line: bytes) -> ReceivedLine:
    """Decode one line. Raises ProtocolViolation."""
    try:
        value = msgspec.json.decode(line)
        head = msgspec.convert(value, _Line)
        return ReceivedLine(head.id, _event(head, value))
    except (msgspec.MsgspecError, ValueError, TypeError, KeyError, RecursionError):
        raise ProtocolViolation(line) from None


def _event(head: _Line, value: dict[str, Any]) -> CallEvent:
    if head.type == "progress":
        if "delta" in value:
            return msgspec.convert(value, Delta)
        return msgspec.convert(value, COMMANDS[head.command].progress or Measure)
    if head.type == "response":
        return Ended(msgspec.convert(value, COMMANDS[head.command].result), head.warnings)
    if head.type == "error":
        said = msgspec.convert(value, _Error)
        return Ended(failure(said.code, said.error, said.retryable, said.data))
    raise msgspec.ValidationError("no such type")
