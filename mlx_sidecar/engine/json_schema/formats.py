"""Formats of strings: as regular expressions where llguidance takes what most programs can't read.

RFC 3339 has a second 60, small letters and any fraction; datetime of Python, pydantic, zod and JavaScript's Date don't
read them, nor 29 February where there was none.
"""

from __future__ import annotations

from typing import Any

from mlx_sidecar.protocol.schema_keywords import FORMATS

_YEAR = "(?:000[1-9]|00[1-9][0-9]|0[1-9][0-9]{2}|[1-9][0-9]{3})"
_LEAP = "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)"
_DAY_OF_28 = "(?:0[1-9]|1[0-9]|2[0-8])"
_DAYS = f"(?:(?:0[13-9]|1[0-2])-(?:{_DAY_OF_28}|29|30)|(?:0[13578]|1[02])-31|02-{_DAY_OF_28})"
_DATE = f"(?:{_YEAR}-{_DAYS}|{_LEAP}-02-29)"
_CLOCK = "(?:[01][0-9]|2[0-3]):[0-5][0-9]"
_TIME = rf"{_CLOCK}:[0-5][0-9](?:\.[0-9]{{1,6}})?(?:Z|[+-]{_CLOCK})"

_LABEL = "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_BYTE = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_WORD = "[A-Za-z0-9_+-]+"
OF_NAMES = {
    "uuid": "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}",
    "ipv4": rf"{_BYTE}(\.{_BYTE}){{3}}",
    "hostname": rf"{_LABEL}(\.{_LABEL}){{0,3}}",
    "email": rf"{_WORD}(\.{_WORD})*@{_LABEL}(\.{_LABEL}){{1,3}}",
}
"""What names look like that have a format: llguidance can't be asked for it. The usual ones, where there are others."""

_OURS = {"date": _DATE, "time": _TIME, "date-time": f"{_DATE}T{_TIME}"}


def with_our_format(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with a pattern in place of a format that is ours, and without a format that nobody knows."""
    name = schema.get("format")
    if not isinstance(name, str) or name in FORMATS - _OURS.keys():
        return schema
    rest = {key: value for key, value in schema.items() if key != "format"}
    if name not in _OURS or (name == "time" and "pattern" in schema):
        return rest  # zod's pattern for a time forbids the offset that the format demands
    pattern = f"^{_OURS[name]}$"
    if "pattern" not in schema:
        return {**rest, "pattern": pattern}
    return {**rest, "allOf": [*_listed(rest.get("allOf")), {"pattern": pattern}]}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
