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
_CHECK_S = 5.0
"""How long one answer may be looked at: branches that refer to themselves double the work at each level."""

_PATTERNS_S = 1.0
"""How long the patterns that only `regex` can match may look at it: some take years."""


def violations(schema: dict[str, Any], text: str) -> list[str]:
    """What of a schema a JSON text breaks, each with its place in it."""
    try:
        value = json.loads(text, parse_float=Written, parse_int=_integer)
        return Validator(read(schema)).violations(value)
    except _OutOfTimeError:
        return [f"{place(())}: couldn't be checked in {_CHECK_S:g} s"]
    except RecursionError:
        return [f"{place(())}: nested too deep to be checked"]
    except DecimalException:
        return [f"{place(())}: has a number that is too large to be checked"]


class _OutOfTimeError(Exception):
    pass


class _Clock:
    """How much time is left for one value."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Another value is to be checked."""
        self._begun = monotonic()

    def tick(self) -> None:
        """Raises _OutOfTimeError where none is left."""
        if monotonic() > self._begun + _CHECK_S:
            raise _OutOfTimeError

    @property
    def left_for_patterns_s(self) -> float:
        """For those that may take years."""
        return max(self._begun + _PATTERNS_S - monotonic(), 0.001)


class Validator:
    """Of one schema that was read, whatever its draft."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._clock = _Clock()
        self._validator = _library(in_2020_12(schema), self._clock)

    def is_valid(self, value: Any) -> bool:
        """Whether a value obeys it, as far as that can be told in time."""
        try:
            return not self.violations(value, most=1)
        except _OutOfTimeError:
            return False

    def violations(self, value: Any, most: int = _MOST_VIOLATIONS) -> list[str]:
        """What of the schema a value breaks: for each the place in the value, and what is wrong there."""
        self._clock.begin()
        with localcontext() as context:
            context.prec = _MOST_DIGITS
            found = dict.fromkeys(map(told, self._validator.iter_errors(value)))
            return list(islice(found, most))


def _integer(spelled: str) -> int | Written:
    """Python makes no integer of thousands of digits."""
    return int(spelled) if len(spelled) < _MOST_DIGITS else Written(spelled)


def _library(schema: dict[str, Any], clock: _Clock) -> Any:
    import jsonschema  # takes a fifth of a second, which only those wait for who need it
    from referencing import Registry

    patterns = _Patterns(clock)
    follow = jsonschema.Draft202012Validator.VALIDATORS["$ref"]

    def reference(*where: Any) -> Any:
        clock.tick()
        return follow(*where)

    kind = jsonschema.validators.extend(  # type: ignore[no-untyped-call]
        jsonschema.Draft202012Validator,
        {"pattern": patterns.pattern, "patternProperties": patterns.of_names, "multipleOf": _multiple}
        | {"$ref": reference},
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

    def __init__(self, clock: _Clock) -> None:
        self._clock = clock

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
            return regex.search(pattern, text, timeout=self._clock.left_for_patterns_s, concurrent=True) is not None
        except (regex.error, TimeoutError):
            return False
