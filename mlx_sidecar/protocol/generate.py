"""Writes what follows from the registry: the Python clients, protocol.md's tables, the conformance suite's codes.

`python -m mlx_sidecar.protocol.generate` in the project's folder; `npm run protocol` in clients/typescript does the
same for the types there. Tests fail where something was forgotten.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Struct
from msgspec.structs import FieldInfo

from mlx_sidecar.errors import ERROR_CODES
from mlx_sidecar.protocol.commands import COMMANDS, Command
from mlx_sidecar.protocol.requests import PATH, Request
from mlx_sidecar.protocol.responses import DownloadMeasure
from mlx_sidecar.protocol.schema import with_tables

CALLS = "mlx_sidecar/client/calls.py"
CLIENTS = ("mlx_sidecar/client/blocking.py", "mlx_sidecar/client/aio.py")
DOCUMENT = "protocol.md"
CONFORMANCE = "tests/conformance/codes.json"

_MARKS = ("    # written by protocol/generate.py: begin\n", "    # written by protocol/generate.py: end\n")
_OF_THE_CLIENT = {"id", "stream", "progress"}
"""Fields that a client sets by itself."""

_HEAD = '''"""One function for each command, which makes its `PreparedRequest`; both clients turn these into methods.

Options that aren't given are left to the worker. `timeout_s` counts from the moment when the worker read the request,
waiting included; the client calls `on_progress` where the call is made, never on a thread of its own. Written by
protocol/generate.py.
"""

from __future__ import annotations

from typing import Any, Literal

from mlx_sidecar.client.prepared_request import OnDownload, OnProgress, PreparedRequest, StrPath, text_of
from mlx_sidecar.protocol import requests
from mlx_sidecar.protocol.responses import (
{results}
)
'''


def files(root: Path) -> dict[Path, str]:
    """The files that are written, with the texts that they are to have."""
    found = {root / CALLS: calls(), root / DOCUMENT: with_tables((root / DOCUMENT).read_text(encoding="utf-8"))}
    found[root / CONFORMANCE] = conformance()
    for name in CLIENTS:
        before, _, rest = (root / name).read_text(encoding="utf-8").partition(_MARKS[0])
        after = rest.partition(_MARKS[1])[2]
        found[root / name] = f"{before}{_MARKS[0]}{methods()}{_MARKS[1]}{after}"
    return found


def calls() -> str:
    """The text of client/calls.py."""
    results = "\n".join(sorted(f"    {command.result.__name__}," for command in COMMANDS.values()))
    return "\n\n".join([_HEAD.replace("{results}", results), *map(_function, COMMANDS.values())])


def conformance() -> str:
    """The error codes, for a suite that doesn't import this package."""
    return json.dumps(ERROR_CODES, indent=2) + "\n"


def methods() -> str:
    """The methods of a client. How it ends is its own."""
    lines = list[str]()
    for command in COMMANDS.values():
        if command.function != "shutdown":
            lines.append(f"    {command.function} = _answered(calls.{command.function})\n")
        if command.streams:
            lines.append(f"    {command.function}_stream = _streamed(calls.{command.function})\n")
    return "".join(lines)


def _function(command: Command) -> str:
    kind, result = command.request, command.result.__name__
    parameters, arguments = list[str](), list[str]()
    for field, is_first in _fields(kind):
        name, default, is_path = field.name, _default(field), _is_path(kind, field.name)
        written = _written(get_type_hints(kind)[name], is_path=is_path)
        is_list = isinstance(field.default_factory, type)
        parameters.append(f"{name}: {written}{' | None = None' if is_list else default}")
        arguments.append(f"{name}={f'text_of({name})' if is_path else f'{name} or []' if is_list else name}")
        if is_first:
            parameters.append("*")
    if "*" not in parameters:
        parameters.insert(0, "*")
    if command.progress is not None:
        listener = "OnDownload" if command.progress is DownloadMeasure else "OnProgress"
        parameters.append(f"on_progress: {listener} | None = None")
    if "progress" in kind.__struct_fields__:
        arguments.append("progress=on_progress is not None")
    listened = ", on_progress" if command.progress is not None else ""
    return (
        f"def {command.function}(\n    {', '.join(parameters)},\n) -> PreparedRequest[{result}]:\n"
        f'    """{inspect.getdoc(kind)}"""\n'
        f"    return PreparedRequest(requests.{kind.__name__}({', '.join(arguments)}){listened})\n"
    )


def _fields(kind: type[Request]) -> Iterator[tuple[FieldInfo, bool]]:
    """A request's own fields, then those of its bases; the very first is marked: it needs no name."""
    known = {field.name: field for field in msgspec.structs.fields(kind) if field.name not in _OF_THE_CLIENT}
    inherited = [base for base in kind.__mro__[1:] if issubclass(base, Struct) and base is not Struct]
    common = [name for base in inherited for name in base.__struct_fields__ if name in known]
    own = [name for name in known if name not in common]
    for name in dict.fromkeys([*own, *(name for name in common if name != "timeout_s"), "timeout_s"]):
        yield known[name], bool(own) and name == own[0]


def _default(field: FieldInfo) -> str:
    return "" if field.required else f" = {field.default!r}"


def _is_path(kind: type[Request], name: str) -> bool:
    return PATH in getattr(get_type_hints(kind, include_extras=True)[name], "__metadata__", ())


def _written(hint: Any, *, is_path: bool = False) -> str:
    """A type as it is written in Python."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        # None comes last, as people write it.
        parts = sorted(inner, key=lambda part: part is NoneType)
        return " | ".join(_written(part, is_path=is_path) for part in parts)
    if hint is NoneType:
        return "None"
    if hint is Any:
        return "Any"
    if origin is Literal:
        return f"Literal[{', '.join(map(repr, inner))}]"
    if origin is not None:
        return f"{origin.__name__}[{', '.join(map(_written, inner))}]"
    if is_path and hint is str:
        return "StrPath"
    module = "requests." if hint.__module__ == Request.__module__ else ""
    return f"{module}{hint.__name__}"


def main() -> None:
    """Write them all. The project's formatter has the last word on their layout."""
    import subprocess
    import sys

    for path, text in files(Path()).items():
        path.write_text(text, encoding="utf-8")
    subprocess.run([sys.executable, "-m", "ruff", "format", "--quiet", CALLS], check=True)


if __name__ == "__main__":
    main()
