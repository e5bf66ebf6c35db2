"""From a JSON Schema to a grammar of llguidance: checked, rewritten, closed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from llguidance import LLMatcher

from mlx_sidecar.engine.json_schema.closing import close
from mlx_sidecar.engine.json_schema.exact import dumped, exact_grammar, unkept_keyword, unkept_number
from mlx_sidecar.engine.json_schema.exclusive import separate
from mlx_sidecar.engine.json_schema.forms import simplify
from mlx_sidecar.engine.json_schema.held import (
    checked_problem,
    places_of,
    refuse_unheld,
    refuse_unreadable,
    strict_problem,
    without_unused,
)
from mlx_sidecar.engine.json_schema.limits import refuse_too_complex, refuse_too_large, refuse_too_long
from mlx_sidecar.engine.json_schema.multiples import Multiples
from mlx_sidecar.engine.json_schema.names import Names, Schema
from mlx_sidecar.engine.json_schema.numbers import is_kept_multiple
from mlx_sidecar.engine.json_schema.placed import placed
from mlx_sidecar.engine.json_schema.reading import read
from mlx_sidecar.engine.json_schema.refusal import placed_refusal, refusal
from mlx_sidecar.engine.json_schema.regex import is_compilable
from mlx_sidecar.engine.json_schema.relaxed import barest, plainer, relaxed
from mlx_sidecar.engine.json_schema.steps import MOST_REMAINDERS
from mlx_sidecar.errors import InvalidParams
from mlx_sidecar.protocol.schema_keywords import KEYWORDS, LIMITS, mapped

_JSON_FORM = {
    # A model may go on with blanks between two values for ever, if it may write any.
    "whitespace_flexible": False,
    # As models have seen most JSON, and as Python's `json.dumps` writes it. Regular expressions.
    "item_separator": ", ",
    "key_separator": ": ",
    # Its branches are known to exclude each other: see `exclusive`.
    "coerce_one_of": True,
}
"""How llguidance writes JSON."""

_READ = frozenset(
    {
        *("type", "enum", "const", "$ref", "$defs", "definitions", "allOf", "anyOf", "oneOf", "pattern", "format"),
        *("properties", "patternProperties", "additionalProperties", "required", "minProperties", "maxProperties"),
        *("items", "prefixItems", "additionalItems", "minItems", "maxItems", "minLength", "maxLength", "multipleOf"),
        *LIMITS,
    }
)
"""The keywords that llguidance reads. Beside a reference that leads back to itself it takes no other, known or not."""


def spelled(schema: dict[str, Any]) -> str:
    """A schema as JSON."""
    try:
        return dumped(schema)
    except RecursionError:
        raise refusal("", "it is nested too deep: take fewer levels") from None


def json_grammar(schema: dict[str, Any], text: str) -> str:
    """The grammar of a schema, of which `text` is the JSON. Raises InvalidParams where there is none."""
    refuse_too_large(schema, text)
    with _told_by_name():
        meant = read(schema)
        return _grammar(meant, compilable(meant))


def placed_problem(schema: dict[str, Any], problem: InvalidParams) -> InvalidParams:
    """What `json_grammar`, or the compilation of what it made, has against a schema, with the place in it."""
    if "pointer" in problem.data:
        return problem
    try:
        return placed(read(schema), problem, _is_taken)
    except RecursionError:
        return placed_refusal("", problem)


def _is_taken(schema: dict[str, Any]) -> bool:
    try:
        grammar = _grammar(schema, compilable(schema))
    except (InvalidParams, ValueError):
        return False
    return is_compilable(grammar)


def checked_grammars(schema: dict[str, Any], text: str) -> Iterator[Callable[[], str]]:
    """Grammars for a schema that an answer is checked against, from the tightest on: not every one can be compiled.

    Raises InvalidParams where the schema isn't sound.
    """
    refuse_too_large(schema, text)
    with _told_by_name():
        meant = read(schema)
        refuse_unreadable(places_of(meant, Names(meant)), checked_problem)
        held = relaxed(simplify(meant))
    yield lambda: _checked_grammar(held)
    yield lambda: _checked_grammar(plainer(held))
    yield lambda: _checked_grammar(barest(held))


def _checked_grammar(schema: dict[str, Any]) -> str:
    with _told_by_name():
        return _grammar(schema, compilable(schema, strict=False))


def _grammar(schema: dict[str, Any], closed: dict[str, Any]) -> str:
    text = dumped(closed)
    refuse_too_large(closed, text)
    refuse_too_complex(closed)
    if pointer := unkept_number(places_of(closed, Names(closed))):
        try:
            return _exact_grammar(schema, closed, pointer)
        except InvalidParams:
            if not _can_be_counted(closed):
                raise
    return str(LLMatcher.grammar_from_json_schema(text, overrides=_JSON_FORM))


def _can_be_counted(closed: dict[str, Any]) -> bool:
    """Whether the only numbers that llguidance doesn't keep are multiples, and nothing beside them makes it err."""
    multiples = Multiples(closed)
    places = places_of(closed, Names(closed)).values()
    return (
        not any(unkept_keyword({**each, "multipleOf": 1}) for each in places)
        and all(is_kept_multiple(each["multipleOf"]) for each in places if "multipleOf" in each)
        and not multiples.err()
        and multiples.most() <= MOST_REMAINDERS
    )


@contextmanager
def _told_by_name() -> Iterator[None]:
    try:
        yield
    except RecursionError:
        raise refusal("", "it is nested too deep: take fewer levels") from None
    except ValueError as problem:
        raise InvalidParams(f"field 'schema': {first_line(str(problem))}", {"field": "schema"}) from None


def _exact_grammar(schema: dict[str, Any], closed: dict[str, Any], pointer: str) -> str:
    """Names the place where the number stands as the schema was given, if it's there."""
    given = unkept_number(places_of(schema, Names(schema)))
    lark = exact_grammar(closed, _JSON_FORM, given or pointer)
    refuse_too_long("schema", [lark], most_bytes_each=len(lark.encode()))
    return str(LLMatcher.grammar_from_lark(lark))


def compilable(schema: dict[str, Any], *, strict: bool = True) -> dict[str, Any]:
    """A schema as it was read, in forms that llguidance takes and holds to. Raises InvalidParams where it has none.

    If not strict, branches of a `oneOf` may hold together.
    """
    simple = simplify(schema)
    names = Names(simple)
    places = places_of(simple, names)
    refuse_unreadable(places, strict_problem)
    refuse_unheld(places)
    refuse_too_complex(simple)
    used = without_unused(simple, places)
    plain: dict[str, Any] = _plain(close(separate(used, Names(used), strict=strict)))
    return plain


def _plain(schema: Schema) -> Schema:
    """With the keywords that are read, and with whatever else references lead into."""
    if not isinstance(schema, dict):
        return schema
    plain = {key: value for key, value in schema.items() if key in _READ or _may_be_led_into(key, value)}
    return mapped(plain, "", lambda _, each: _plain(each))


def _may_be_led_into(key: str, value: Any) -> bool:
    return key not in KEYWORDS and isinstance(value, (dict, list))


def first_line(message: str) -> str:
    """What llguidance says, without what it adds for its own developers."""
    lines = [line.strip() for line in message.strip().splitlines()] or ["can't be compiled"]
    return next((line for line in lines if line.startswith("error:")), lines[0]).removeprefix("error: ")[:300]
