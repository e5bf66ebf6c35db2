"""Checks values against schemas, numbers to their last digit; fetches nothing.

jsonschema checks answers: it counts in whatever numbers it is given, so Python's integers and decimals keep every
digit. llguidance checks patterns: Python's `re` can look at a text for years and holds the GIL, llguidance's
expressions can't; for patterns with lookarounds `regex` has a clock. jsonschema-rs is faster, and 15 MB. jsonschema
is imported with the first check, which takes 0.2 to 0.4 s (2026-11-29).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal, localcontext
from functools import reduce
from itertools import islice
from typing import Any

from mlx_sidecar.engine.json_schema.regex import is_regex, matches
from mlx_sidecar.protocol.schema_keywords import into

_MOST_VIOLATIONS = 20
_MOST_DIGITS = 2_000
_PATTERN_S = 1.0
"""How long one pattern may look at one text: some take years."""


def violations(schema: dict[str, Any], text: str) -> list[str]:
    """What of a schema a JSON text breaks, each with its place in it."""
    try:
        return Validator(schema).violations(json.loads(text, parse_float=Decimal))
    except RecursionError:
        return ["the answer is nested too deep to be checked"]


class Validator:
    """Of one schema, by the draft that its `$schema` names, 2020-12 without one."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._validator = _library(_exact(schema))

    def is_valid(self, value: Any) -> bool:
        """Whether a value obeys it."""
        return not self.violations(value, most=1)

    def violations(self, value: Any, most: int = _MOST_VIOLATIONS) -> list[str]:
        """What of the schema a value breaks: for each the place in the value, and what is wrong there."""
        with localcontext() as context:
            context.prec = _MOST_DIGITS
            found = self._validator.iter_errors(_exact(value))
            return [f"{_pointer(each.absolute_path)}: {_told(each)}" for each in islice(found, most)]


def _library(schema: dict[str, Any]) -> Any:
    import jsonschema  # takes a fifth of a second, which only those wait for who need it
    from referencing import Registry

    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    extended = jsonschema.validators.extend(  # type: ignore[no-untyped-call]
        kind,
        {"pattern": _pattern, "patternProperties": _pattern_properties},
        type_checker=kind.TYPE_CHECKER.redefine("integer", lambda _, value: _is_integer(value)),
    )
    return extended(schema, registry=Registry())


def _exact(value: Any) -> Any:
    """With decimals in place of doubles."""
    if isinstance(value, dict):
        return {key: _exact(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_exact(each) for each in value]
    return Decimal(repr(value)) if isinstance(value, float) else value


def _is_integer(value: Any) -> bool:
    if isinstance(value, Decimal):
        return value == value.to_integral_value()
    return isinstance(value, int) and not isinstance(value, bool)


def _pattern(validator: Any, pattern: str, value: Any, _schema: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    if validator.is_type(value, "string") and not _is_match(pattern, value):
        yield ValidationError(f"{_short(value)} doesn't match {_short(pattern)}")


def _pattern_properties(validator: Any, patterns: dict[str, Any], value: Any, _schema: Any) -> Iterator[Any]:
    if not validator.is_type(value, "object"):
        return
    for pattern, schema in patterns.items():
        for name, each in value.items():
            if _is_match(pattern, name):
                yield from validator.descend(each, schema, path=name, schema_path=pattern)


def _is_match(pattern: str, text: str) -> bool:
    """By llguidance, as far as it can: its expressions take no time, whatever they look at."""
    if is_regex(pattern) and (found := matches(pattern, text)) is not None:
        return found
    import regex

    try:
        return regex.search(pattern, text, timeout=_PATTERN_S) is not None
    except (regex.error, TimeoutError):
        return False


def _pointer(path: Any) -> str:
    return reduce(into, path, "") or "the answer"


def _told(error: Any) -> str:
    message = str(error.message)
    return f"{message[:300]}…" if len(message) > 300 else message


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:60]}…")
