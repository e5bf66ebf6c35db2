"""The protocol as JSON Schema, and as the tables of protocol.md: both made from the structs, so they can't drift.

`python -m mlx_sidecar.protocol.generate` writes the tables anew.
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from mlx_sidecar.errors import ERROR_CODES, SidecarError
from mlx_sidecar.protocol import limits
from mlx_sidecar.protocol.commands import COMMANDS, described
from mlx_sidecar.protocol.requests import Id
from mlx_sidecar.protocol.responses import Delta, DownloadMeasure, Measure

_REFERENCE = "#/$defs/{name}"
_COMMON_FIELDS = ("id", "timeout_s", "command")


def schema() -> dict[str, Any]:
    """A schema with `requests` and `lines` in its definitions; a document that obeys it is one of either."""
    requests = [command.request for command in COMMANDS.values()]
    kinds = [*requests, *(command.result for command in COMMANDS.values()), Measure, DownloadMeasure, Delta]
    _, definitions = msgspec.json.schema_components([*kinds, Id], ref_template=_REFERENCE)
    responses = {f"{command}-response": _response(command, definitions) for command in COMMANDS}
    definitions |= responses
    for command in COMMANDS.values():
        definitions[command.request.__name__]["x-command"] = described(command)
    definitions["progress"] = _line(
        "progress", _any_command(), {}, [_ref("Measure"), _ref("DownloadMeasure"), _ref("Delta")]
    )
    definitions["error"] = _line("error", _any_command(), _error_fields(), [])
    definitions["request"] = {"anyOf": [_ref(kind.__name__) for kind in requests]}
    definitions["line"] = {"anyOf": [*(_ref(name) for name in responses), _ref("progress"), _ref("error")]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "mlx-sidecar protocol 1",
        "x-limits": {name.lower(): value for name, value in vars(limits).items() if name.isupper()},
        "anyOf": [_ref("request"), _ref("line")],
        "$defs": definitions,
    }


def schema_json() -> str:
    """The schema as text."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def _ref(name: str) -> dict[str, str]:
    return {"$ref": _REFERENCE.format(name=name)}


def _any_command() -> dict[str, Any]:
    return {"type": "string", "description": "a command's name as it was sent, or 'unknown'"}


def _id_schema() -> dict[str, Any]:
    return msgspec.json.schema(Id)


def _line(kind: str, command: dict[str, Any], fields: dict[str, Any], one_of: list[dict[str, str]]) -> dict[str, Any]:
    required = ["type", "command", *(name for name in fields if name not in {"data", "warnings"})]
    line = {
        "type": "object",
        "properties": {"type": {"const": kind}, "command": command, "id": _id_schema(), **fields},
        "required": required,
    }
    return line | ({"anyOf": one_of} if one_of else {})


def _error_fields() -> dict[str, Any]:
    return {
        "error": {"type": "string", "description": "one sentence that says what to do"},
        "code": {"enum": list(ERROR_CODES)},
        "retryable": {"type": "boolean", "description": "whether the very same request can work later"},
        "data": {"type": "object"},
    }


def _response(command: str, definitions: dict[str, Any]) -> dict[str, Any]:
    result = definitions[COMMANDS[command].result.__name__]
    warnings = {"warnings": {"type": "array", "items": {"type": "string"}}}
    line = _line("response", {"const": command}, {**result["properties"], **warnings}, [])
    line["required"] = ["type", "command", *result.get("required", [])]
    return line


def tables() -> str:
    """Requests, responses and codes, as Markdown."""
    definitions = schema()["$defs"]
    return "\n".join([*_request_tables(definitions), *_response_tables(definitions), *_code_table()]) + "\n"


def _request_tables(definitions: dict[str, Any]) -> list[str]:
    lines: list[str] = []
    for name, command in COMMANDS.items():
        request = definitions[command.request.__name__]
        fields = {field: kind for field, kind in request["properties"].items() if field not in _COMMON_FIELDS}
        lines += [f"### `{name}`", "", request.get("description", ""), ""]
        if fields:
            lines += ["| field | type | default | |", "| --- | --- | --- | --- |"]
            required = request.get("required", [])
            lines += [_row(field, kind, field in required) for field, kind in fields.items()]
            lines.append("")
        result = definitions[command.result.__name__]
        answer = [
            f"`{name}`" + ("" if name in result.get("required", []) or "default" in field else "?")
            for name, field in result["properties"].items()
        ]
        lines += [f"Answers {', '.join(answer)}.", ""]
    return lines


def _row(name: str, field: dict[str, Any], required: bool) -> str:
    default = "required" if required else f"`{json.dumps(field.get('default'))}`"
    return f"| `{name}` | {_kind(field)} | {'–' if default == '`null`' else default} | {_words(field)} |"


def _words(field: dict[str, Any]) -> str:
    return str(field.get("description", "")).replace("|", "\\|")


def _kind(field: dict[str, Any]) -> str:
    """A type in the words of a person: string, integer 1–50, one of …"""
    if "$ref" in field:
        return f"`{field['$ref'].rpartition('/')[2]}`"
    if "anyOf" in field:
        return " or ".join(_kind(option) for option in field["anyOf"] if option != {"type": "null"})
    if "enum" in field:
        return " or ".join(f'`"{value}"`' for value in field["enum"] if value is not None)
    if field.get("type") == "array":
        return f"list of {_kind(field.get('items', {}))}"
    return f"{field.get('type', 'any')}{_range(field)}"


def _range(field: dict[str, Any]) -> str:
    parts = [
        (" > {}", field.get("exclusiveMinimum")),
        (" ≥ {}", field.get("minimum")),
        (" ≤ {}", field.get("maximum")),
        (", at most {} characters", field.get("maxLength")),
    ]
    return "".join(words.format(bound) for words, bound in parts if bound is not None)


def _response_tables(definitions: dict[str, Any]) -> list[str]:
    lines = ["### What stands in the answers", "", "| object | field | type | |", "| --- | --- | --- | --- |"]
    shown = {command.result.__name__ for command in COMMANDS.values()} | _referenced(definitions)
    for name in sorted(shown):
        for field, kind in definitions[name].get("properties", {}).items():
            lines.append(f"| `{name}` | `{field}` | {_kind(kind)} | {_words(kind)} |")
    return [*lines, ""]


def _referenced(definitions: dict[str, Any]) -> set[str]:
    results = [definitions[command.result.__name__] for command in COMMANDS.values()]
    return set(re.findall(r"#/\$defs/(\w+)", json.dumps(results)))


def _code_table() -> list[str]:
    lines = ["### Error codes", "", "| code | retryable |", "| --- | --- |"]
    return [*lines, *(f"| `{e.code}` | {'yes' if e.retryable else 'no'} |" for e in SidecarError.__subclasses__())]


_MARKS = ("<!-- made from the structs: begin -->\n", "<!-- made from the structs: end -->\n")


def with_tables(document: str) -> str:
    """The document with the text between its marks replaced by the tables."""
    before, _, rest = document.partition(_MARKS[0])
    _, _, after = rest.partition(_MARKS[1])
    return f"{before}{_MARKS[0]}\n{tables()}\n{_MARKS[1]}{after}"
