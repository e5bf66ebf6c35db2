"""Ways through a schema as plain JSON: all that stands in it, and what stands at one place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def values(schema: dict[str, Any]) -> Iterator[dict[str, Any] | list[Any] | str]:
    """Each object, list and string in it, but for names; what holds another comes first."""
    waiting: list[Any] = [schema]
    while waiting:
        value = waiting.pop()
        if isinstance(value, (dict, list)):
            waiting.extend(value.values() if isinstance(value, dict) else value)
        if isinstance(value, (dict, list, str)):
            yield value


def objects(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Each object in it, whatever it stands for."""
    return (each for each in values(schema) if isinstance(each, dict))


def at(schema: Any, pointer: str) -> Any:
    """What a JSON pointer leads to; None where that is nothing."""
    found = schema
    for step in pointer.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(found, list):
            found = found[int(name)] if _is_place(name) and int(name) < len(found) else None
        else:
            found = found.get(name) if isinstance(found, dict) else None
    return found


def _is_place(step: str) -> bool:
    return step == "0" or (len(step) < 8 and step.isascii() and step.isdecimal() and step[0] != "0")
