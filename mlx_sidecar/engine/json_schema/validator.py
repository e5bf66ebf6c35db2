"""Checks values against schemas, numbers to their last digit; fetches nothing.

jsonschema checks answers: it counts in whatever numbers it is given, so Python's integers and decimals keep every
digit. llguidance checks patterns: Python's `re` can look at a text for years and holds the GIL, llguidance's
expressions can't; for patterns with lookarounds `regex` has a clock. jsonschema-rs is faster, and 15 MB. jsonschema
is imported with the first check, which takes 0.2 to 0.4 s (2026-11-29).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal, DecimalException, localcontext
from itertools import islice
from time import monotonic
from typing import Any

from mlx_sidecar.engine.json_schema.draft import in_2020_12
from mlx_sidecar.engine.json_schema.numbers import exact, is_multiple
from mlx_sidecar.engine.json_schema.reading import read
from mlx_sidecar.engine.json_schema.regex import is_regex, matches
from mlx_sidecar.engine.json_schema.told import Written, place, told

_MOST_VIOLATIONS = 20
_MOST_DIGITS = 2_000
_CHECK_S = 1.0
"""How long the patterns that only `regex` can match may look at one answer: some take years."""


def violations(schema: dict[str, Any], text: str) -> list[str]:
    """What of a schema a JSON text breaks, each with its place in it."""
    try:
        value = json.loads(text, parse_float=Written, parse_int=_integer)
        return Validator(read(schema)).violations(value)
    except RecursionError:
        return [f"{place(())}: nested too deep to be checked"]
    except DecimalException:
        return [f"{place(())}: has a number that is too large to be checked"]


class Validator:
    """Of one schema that was read, whatever its draft."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._validator = _library(in_2020_12(schema))

    def is_valid(self, value: Any) -> bool:
        """Whether a value obeys it."""
        return not self.violations(value, most=1)

    def violations(self, value: Any, most: int = _MOST_VIOLATIONS) -> list[str]:
        """What of the schema a value breaks: for each the place in the value, and what is wrong there."""
        with localcontext() as context:
            context.prec = _MOST_DIGITS
            found = dict.fromkeys(map(told, self._validator.iter_errors(value)))
            return list(islice(found, most))


def _integer(spelled: str) -> int | Written:
    """Python makes no integer of thousands of digits."""
    return int(spelled) if len(spelled) < _MOST_DIGITS else Written(spelled)


def _library(schema: dict[str, Any]) -> Any:
    import jsonschema  # takes a fifth of a second, which only those wait for who need it
    from referencing import Registry

    patterns = _Patterns(monotonic() + _CHECK_S)
    kind = jsonschema.validators.extend(  # type: ignore[no-untyped-call]
        jsonschema.Draft202012Validator,
        {"pattern": patterns.pattern, "patternProperties": patterns.of_names, "multipleOf": _multiple},
        type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine("integer", lambda _, each: _is_whole(each)),
    )
    return kind(schema, registry=Registry())


def _is_whole(value: Any) -> bool:
    if isinstance(value, Decimal):
        return value == value.to_integral_value()
    return isinstance(value, int) and not isinstance(value, bool)


def _multiple(validator: Any, step: Any, value: Any, _schema: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    if validator.is_type(value, "number") and not is_multiple(exact(value), exact(step)):
        yield ValidationError("no multiple")


class _Patterns:
    """Matches by llguidance as far as it can: its expressions take no time, whatever they look at."""

    def __init__(self, until: float) -> None:
        self._until = until

    def pattern(self, validator: Any, pattern: str, value: Any, _schema: Any) -> Iterator[Any]:
        """The keyword of this name."""
        from jsonschema import ValidationError

        if validator.is_type(value, "string") and not self._is_match(pattern, value):
            yield ValidationError("no match")

    def of_names(self, validator: Any, patterns: dict[str, Any], value: Any, _schema: Any) -> Iterator[Any]:
        """The keyword `patternProperties`."""
        if not validator.is_type(value, "object"):
            return
        for pattern, schema in patterns.items():
            for name, each in value.items():
                if self._is_match(pattern, name):
                    yield from validator.descend(each, schema, path=name, schema_path=pattern)

    def _is_match(self, pattern: str, text: str) -> bool:
        if is_regex(pattern) and (found := matches(pattern, text)) is not None:
            return found
        import regex

        try:
            left_s = max(self._until - monotonic(), 0.001)
            return regex.search(pattern, text, timeout=left_s, concurrent=True) is not None
        except (regex.error, TimeoutError):
            return False
