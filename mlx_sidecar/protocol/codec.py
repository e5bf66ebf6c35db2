"""Bytes of one line to a request, and answers back to bytes. orjson reads and writes, msgspec checks."""

from __future__ import annotations

import codecs
import functools
import gc
import re
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from itertools import chain, islice
from typing import Any, cast, get_args

import msgspec
import orjson
from msgspec import Struct

from mlx_sidecar.errors import InvalidParams, InvalidRequest, MessageTooLarge, ParseError, SidecarError, UnknownCommand
from mlx_sidecar.protocol.commands import COMMANDS
from mlx_sidecar.protocol.framing import Line, Oversized, wide_encoding
from mlx_sidecar.protocol.other_names import NOT_A_SETTING, OUR_NAME
from mlx_sidecar.protocol.requests import Generate, Id, Request
from mlx_sidecar.protocol.responses import Delta, Measure, Result

UNKNOWN_COMMAND = "unknown"
"""Stands for the command in a line about a request whose command couldn't be read."""

_AT_FIELD = r"(?s)^(?P<what>.*) - at `\$(?P<path>.*)`$"
_AT_KEY = r"(?s)^Expected (?P<expected>.*?)(?:, got .*)? - at `key` in `\$(?P<path>.*)`$"
_MISSING = r"^Object missing required field `(?P<name>.*)`$"
_TYPES = {
    **{"str": "a string", "int": "an integer", "float": "a number", "bool": "a boolean"},
    **{"array": "an array", "object": "an object"},
}
"""JSON's types by msgspec's names for them."""

_MOST_WARNINGS = 8
_SHOWN_CHARS = 60
_ECHOED_CHARS = 128
_LONG_BYTES = 64 * 1024
_LONG_NUMBER = rb"[0-9.]{16}|[0-9][eE][+-]?[0-9]{3}"
"""What may be a number that orjson makes another one of."""

_MOST_EXPONENT = 400


class Address(Struct, frozen=True):
    """Whom a line answers: the command and the id that it echoes."""

    command: str = UNKNOWN_COMMAND
    id: str | int | None = None


class Accepted(Struct, frozen=True):
    """A line that is a request."""

    address: Address
    request: Request
    warnings: tuple[str, ...] = ()


class Refused(Struct, frozen=True):
    """A line that isn't one, and why."""

    address: Address
    error: SidecarError


def decode(line: Line) -> Accepted | Refused:
    """Read one line; never raises."""
    if isinstance(line, Oversized):
        limit = line.limit_bytes
        sentence = f"the line is longer than {limit} bytes; send less, or raise --max-line-bytes"
        return Refused(Address(), MessageTooLarge(sentence))
    try:
        value = _parsed(line)
    except orjson.JSONDecodeError as error:
        return Refused(Address(), ParseError(_other_encoding(line) or f"the line is not valid JSON: {error}"))
    command, its_id = UNKNOWN_COMMAND, None
    try:
        if not isinstance(value, dict):
            raise InvalidRequest(f"a request is a JSON object, got {_kind(value)}")
        command = _command_or_unknown(value)
        its_id = _read_id(value)
        kind = _request_type(value)
        if kind is Generate and isinstance(value.get("schema"), dict) and re.search(_LONG_NUMBER, line):
            value["schema"] = _exact(line)["schema"]
        return Accepted(Address(command, its_id), convert(value, kind), _unknown_fields(value, kind))
    except SidecarError as error:
        return Refused(Address(command, its_id), error)


class _Identified(Struct, frozen=True):
    """Just the id. Converting to a struct takes half the time of converting to a union."""

    id: Id | None = None


class _Envelope(Struct, frozen=True):
    command: Any = None
    id: Any = None


def address_of(line: bytes) -> Address:
    """Whom an answer to this line would name, without making objects of the rest: in a small part of the time."""
    try:
        found = msgspec.structs.asdict(msgspec.json.decode(line, type=_Envelope))
        return Address(_command_or_unknown(found), _read_id(found))
    except (msgspec.DecodeError, SidecarError, UnicodeDecodeError, RecursionError):
        return Address()


def _other_encoding(line: bytes) -> str | None:
    """What is to be done about a line that isn't UTF-8 at all."""
    if line.startswith(codecs.BOM_UTF8):
        return "the line begins with a byte order mark, which only the first line may; leave it out"
    if encoding := wide_encoding(line):
        return f"the line is {encoding}; lines are UTF-8 (in PowerShell: $OutputEncoding = [Text.UTF8Encoding]::new())"
    return None


def _parsed(line: bytes) -> Any:
    """A long line may make millions of containers, and none of them is garbage: collecting takes most of the time."""
    if len(line) < _LONG_BYTES or not gc.isenabled():
        return orjson.loads(line)
    gc.disable()
    try:
        return orjson.loads(line)
    finally:
        gc.enable()


def _exact(line: Line) -> Any:
    """The line with its numbers as written: an integer of any length, or a Decimal where no double is it."""
    import json

    try:
        return json.loads(cast("bytes", line), parse_float=_decimal)
    except (ValueError, RecursionError):
        raise InvalidParams(
            f"field 'schema': it is nested too deep, or has a number beyond 10 to the power of {_MOST_EXPONENT}",
            {"field": "schema"},
        ) from None


def _decimal(written: str) -> float | Decimal:
    exact = Decimal(written)
    if exact and abs(exact.adjusted()) > _MOST_EXPONENT:
        raise ValueError
    return exact if Decimal(repr(float(written))) != exact else float(written)


def _command_or_unknown(value: dict[str, Any]) -> str:
    command = value.get("command")
    return command[:_ECHOED_CHARS] if isinstance(command, str) else UNKNOWN_COMMAND


def _read_id(value: dict[str, Any]) -> str | int | None:
    if "id" not in value:
        return None
    try:
        return msgspec.convert(value, _Identified).id
    except msgspec.ValidationError:
        raise InvalidRequest(
            "'id' is a string of up to 128 characters or an integer within ±(2^53-1), "
            f"got {_show(value['id'])}; leave it out or send one of those",
            {"field": "id"},
        ) from None


def _request_type(value: dict[str, Any]) -> type[Request]:
    command = value.get("command")
    if not isinstance(command, str):
        came = _show(command) if "command" in value else "nothing"
        raise InvalidRequest(f"'command' must be a string naming a command, got {came}", {"field": "command"})
    if known := COMMANDS.get(command):
        return known.request
    nearest = _nearest(command, COMMANDS)
    hint = f"; did you mean '{nearest}'?" if nearest else "; see data.commands for those there are"
    data = {"command": command[:128], "commands": list(COMMANDS), "nearest": nearest}
    raise UnknownCommand(f"unknown command '{command[:64]}'{hint}", data)


def convert(value: dict[str, Any], kind: type[Request]) -> Request:
    """The request that these fields are. Raises InvalidParams."""
    try:
        return msgspec.convert(value, kind, str_keys=True)
    except msgspec.ValidationError as error:
        raise _invalid_params(str(error), value, kind) from None


def _invalid_params(error: str, value: dict[str, Any], kind: type[Request]) -> InvalidParams:
    """Put msgspec's words into ours: the field, what was expected, what came."""
    if at := re.match(_AT_KEY, error):
        name = at["path"].lstrip(".")
        expected = _in_words(at["expected"])
        return InvalidParams(f"field '{name}': expected {expected} as each key", {"field": name, "expected": expected})
    what, path = error, ""
    if at := re.match(_AT_FIELD, error):
        what, path = at["what"], at["path"].lstrip(".")
    if missing := re.match(_MISSING, what):
        name = f"{path}.{missing['name']}".lstrip(".")
        return InvalidParams(f"field '{name}': expected a value, got nothing", {"field": name})
    if not path:
        named = re.match(r"^field '([^']*)'", what)
        return InvalidParams(what, {"field": named[1]} if named else {})
    expected = _in_words(what.removeprefix("Expected ").partition(", got ")[0])
    if what.startswith("Invalid enum value"):
        expected = f"one of {', '.join(_allowed_values(kind, path))}"
    if path.endswith("[...]"):
        # msgspec doesn't say which of an object's values it is.
        path = path.removesuffix("[...]")
        message = f"field '{path}': expected {expected} as each value"
    else:
        message = f"field '{path}': expected {expected}, got {_show(_lookup(value, path))}"
    return InvalidParams(message, {"field": path, "expected": expected})


def _in_words(expected: str) -> str:
    """What msgspec expects, such as "`str | null` of length <= 64", as a sentence has it."""
    found = re.fullmatch(r"`(?P<types>[^`]*)`(?P<length> of length)?(?: (?P<sign>[<>]=?) (?P<bound>\S+))?", expected)
    if found is None:
        return expected.replace("`", "")
    types = found["types"].split(" | ")
    words = " or ".join(_TYPES.get(type_, type_) for type_ in types)
    if found["sign"] is None:
        return words
    bound = found["bound"].removesuffix(".0")
    relation = {">=": "at least", "<=": "at most", ">": "more than", "<": "less than"}[found["sign"]]
    unit = (" entry" if "array" in types else " character") if found["length"] else ""
    plural = {" entry": " entries", " character": " characters", "": ""}[unit]
    return f"{words} of {relation} {bound}{unit if bound == '1' else plural}"


def _allowed_values(kind: type[Request], path: str) -> list[str]:
    (_,), definitions = msgspec.json.schema_components([kind])
    struct = kind.__name__
    steps = re.findall(r"[A-Za-z_]+", path)
    for step in steps[:-1]:
        reference = re.search(r"#/\$defs/(\w+)", repr(definitions[struct]["properties"][step]))
        struct = reference[1] if reference else struct
    options = definitions[struct]["properties"][steps[-1]]
    values: list[str | None] = next((o["enum"] for o in [options, *options.get("anyOf", [])] if "enum" in o), [])
    return [f"'{value}'" for value in values if value is not None]


def _lookup(value: Any, path: str) -> Any:
    for step in re.findall(r"[^.\[\]]+", path):
        try:
            value = value[int(step)] if isinstance(value, list) else value[step]
        except (KeyError, IndexError, TypeError, ValueError):
            return None
    return value


def _unknown_fields(value: dict[str, Any], kind: type[Request]) -> tuple[str, ...]:
    found = _unknown(value, ("command", *kind.__struct_fields__))
    for name, inner in _lists_of_objects(kind).items():
        found = chain(found, _unknown_within(name, value.get(name) or (), inner.__struct_fields__))
    if kind is Generate and isinstance(schema := value.get("schema"), dict):
        from mlx_sidecar.protocol.schema_keywords import schema_warnings

        found = chain(found, schema_warnings(schema))
    return tuple(islice(found, _MOST_WARNINGS))


@functools.cache
def _lists_of_objects(kind: type[Request]) -> dict[str, type[Struct]]:
    """Which of a request's fields are lists that may hold objects, and of what kind these are."""
    return {field.name: inner for field in msgspec.structs.fields(kind) for inner in _structs_in(field.type)}


def _structs_in(annotation: Any) -> Iterator[type[Struct]]:
    for part in get_args(annotation):
        if isinstance(part, type) and issubclass(part, Struct):
            yield part
        else:
            yield from _structs_in(part)


def _unknown_within(name: str, entries: Iterable[Any], known: Sequence[str]) -> Iterator[str]:
    for number, entry in enumerate(entries):
        if isinstance(entry, dict):
            yield from _unknown(entry, known, f"{name}[{number}].")


def _unknown(value: dict[str, Any], known: Sequence[str], path: str = "") -> Iterator[str]:
    for name in value:
        if name not in known:
            yield f"unknown field '{path}{name[:64]}' ignored{_hint(name, known)}"


def _hint(name: str, known: Sequence[str]) -> str:
    """What to send instead: what stands for another program's name, else the name that is spelled most like it."""
    if reason := NOT_A_SETTING.get(name):
        return f"; {reason}"
    ours = OUR_NAME.get(name)
    if ours in known:
        return f"; use '{ours}'"
    if elsewhere := next((each for each in COMMANDS.values() if ours in each.request.__struct_fields__), None):
        return f"; '{ours}' of {elsewhere.name} sets it"
    nearest = _nearest(name, known)
    return f"; did you mean '{nearest}'?" if nearest else ""


def _nearest(name: str, known: Iterable[str]) -> str | None:
    import difflib

    return next(iter(difflib.get_close_matches(name[:64], known, n=1)), None)


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def _show(value: Any) -> str:
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return f"an array of {len(value)} entries" if len(value) > 1 else "an array" if value else "an empty array"
    if not isinstance(value, str | int | float | None):
        # A caller in Python may give anything.
        return type(value).__name__
    text = orjson.dumps(value, default=repr).decode()
    if len(text) <= _SHOWN_CHARS:
        return text
    length = f" ({len(value)} characters)" if isinstance(value, str) else ""
    return f"{text[:_SHOWN_CHARS]}…{length}"


def encode_response(address: Address, result: Result, warnings: tuple[str, ...] = ()) -> bytes:
    """The line that ends a request that worked."""
    line = {**_head("response", address), **msgspec.to_builtins(result)}
    if warnings:
        line["warnings"] = list(warnings)
    return _encode(line)


def encode_progress(address: Address, step: Measure | Delta) -> bytes:
    """A line on the way."""
    return _encode({**_head("progress", address), **msgspec.to_builtins(step)})


def encode_error(address: Address, error: SidecarError) -> bytes:
    """The line that ends a request that failed."""
    line = {**_head("error", address), "error": error.message, "code": error.code, "retryable": error.retryable}
    if error.data:
        line["data"] = error.data
    return _encode(line)


def _head(kind: str, address: Address) -> dict[str, Any]:
    head: dict[str, Any] = {"type": kind, "command": address.command}
    if address.id is not None:
        head["id"] = address.id
    return head


def _encode(line: dict[str, Any]) -> bytes:
    try:
        raw = orjson.dumps(line)
    except TypeError:
        # A file name that isn't UTF-8, or an integer beyond 64 bits, which a receipt repeats and orjson can't write.
        import json

        from mlx_sidecar.escapes import all_without_surrogates

        raw = json.dumps(all_without_surrogates(line), ensure_ascii=False, separators=(",", ":")).encode()
    # These three end a line for some readers; in UTF-8 their bytes stand for nothing else.
    raw = raw.replace(b"\xe2\x80\xa8", b"\\u2028").replace(b"\xe2\x80\xa9", b"\\u2029")
    return raw.replace(b"\xc2\x85", b"\\u0085") + b"\n"
