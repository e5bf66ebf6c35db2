"""What of a schema a value breaks, in words: its place as a JSON pointer, its numbers as they were written."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal
from functools import reduce
from typing import Any

from mlx_sidecar.engine.json_schema.exact import dumped
from mlx_sidecar.protocol.schema_keywords import into

_SHOWN_CHARS = 80


class Written(Decimal):
    """A number that knows how it was spelled."""

    spelling: str

    def __new__(cls, spelling: str) -> Written:
        """Of a number in JSON."""
        made = super().__new__(cls, spelling)
        made.spelling = spelling
        return made

    def __str__(self) -> str:
        return self.spelling


def told(error: Any) -> str:
    """One violation that jsonschema found."""
    tell = _TOLD.get(error.validator)
    reason = tell(error.instance, error.validator_value) if tell else f"{shown(error.instance)} isn't allowed here"
    return f"{place(error.absolute_path)}: {reason}"


def place(path: Iterable[str | int]) -> str:
    """A JSON pointer; that of the whole answer is the empty string, which looks like nothing."""
    return reduce(into, path, "") or '"" (the whole answer)'


def shown(value: Any) -> str:
    """A value as JSON, its beginning if it is long."""
    text = dumped(value)
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"


def _counted(number: Any, one: str) -> str:
    return f"{number} {one if number == 1 else f'{one}s'}"


def _missing(value: Any, names: Iterable[str]) -> str:
    return f"lacks {', '.join(shown(name) for name in names if name not in value)}"


def _depending(value: Any, rules: dict[str, list[str]]) -> str:
    found = (f"{shown(name)} needs {shown(names)} beside it" for name, names in rules.items() if name in value)
    return "; ".join(found)


_TOLD: dict[str | None, Callable[[Any, Any], str]] = {
    "type": lambda value, types: (
        f"{shown(value)} isn't of type {types if isinstance(types, str) else ' or '.join(types)}"
    ),
    "enum": lambda value, values: f"{shown(value)} is none of {shown(values)}",
    "const": lambda value, other: f"{shown(value)} isn't {shown(other)}",
    "minimum": lambda value, limit: f"{shown(value)} is less than {shown(limit)}",
    "maximum": lambda value, limit: f"{shown(value)} is more than {shown(limit)}",
    "exclusiveMinimum": lambda value, limit: f"{shown(value)} isn't more than {shown(limit)}",
    "exclusiveMaximum": lambda value, limit: f"{shown(value)} isn't less than {shown(limit)}",
    "multipleOf": lambda value, step: f"{shown(value)} is no multiple of {shown(step)}",
    "minLength": lambda value, count: f"{shown(value)} has fewer than {_counted(count, 'character')}",
    "maxLength": lambda value, count: f"{shown(value)} has more than {_counted(count, 'character')}",
    "pattern": lambda value, pattern: f"{shown(value)} doesn't match {shown(pattern)}",
    "minItems": lambda value, count: f"{shown(value)} has fewer than {_counted(count, 'item')}",
    "maxItems": lambda value, count: f"{shown(value)} has more than {_counted(count, 'item')}",
    "items": lambda value, _: f"{shown(value)} has more items than are allowed",
    "uniqueItems": lambda value, _: f"{shown(value)} has an item twice",
    "contains": lambda value, _: f"{shown(value)} has not as many items as it must that obey 'contains'",
    "minContains": lambda value, count: f"{shown(value)} has fewer than {_counted(count, 'item')} that obey 'contains'",
    "maxContains": lambda value, count: f"{shown(value)} has more than {_counted(count, 'item')} that obey 'contains'",
    "minProperties": lambda value, count: f"{shown(value)} has fewer than {_counted(count, 'name')}",
    "maxProperties": lambda value, count: f"{shown(value)} has more than {_counted(count, 'name')}",
    "required": _missing,
    "dependentRequired": _depending,
    "additionalProperties": lambda value, _: f"{shown(value)} has names that the schema doesn't allow",
    "unevaluatedProperties": lambda value, _: f"{shown(value)} has names that no part of the schema allows",
    "unevaluatedItems": lambda value, _: f"{shown(value)} has items that no part of the schema allows",
    "not": lambda value, rule: f"{shown(value)} " + ("obeys what 'not' forbids" if rule else "isn't allowed here"),
    "anyOf": lambda value, _: f"{shown(value)} obeys no branch of 'anyOf'",
    "oneOf": lambda value, _: f"{shown(value)} doesn't obey exactly one branch of 'oneOf'",
}
