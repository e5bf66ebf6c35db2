"""From a JSON Schema to a grammar of llguidance: checked, rewritten, closed."""

from __future__ import annotations

import json
from typing import Any

from llguidance import LLMatcher

from mlx_sidecar.engine.json_schema.closing import close
from mlx_sidecar.engine.json_schema.exclusive import separate
from mlx_sidecar.engine.json_schema.forms import simplify
from mlx_sidecar.engine.json_schema.held import (
    places_of,
    refuse_options,
    refuse_unheld,
    refuse_unsound,
    without_unused,
)
from mlx_sidecar.engine.json_schema.limits import refuse_too_complex, refuse_too_large
from mlx_sidecar.engine.json_schema.names import Names, Schema
from mlx_sidecar.errors import InvalidParams
from mlx_sidecar.protocol.schema_keywords import mapped

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

_ORIGINS = ("$schema", "$id", "id", "$anchor")


def spelled(schema: dict[str, Any]) -> str:
    """A schema as JSON."""
    try:
        return json.dumps(schema)
    except RecursionError:
        raise InvalidParams("field 'schema' is nested too deep", {"field": "schema"}) from None


def json_grammar(schema: dict[str, Any], text: str) -> str:
    """The grammar of a schema, of which `text` is the JSON. Raises InvalidParams where there is none."""
    refuse_too_large(schema, text)
    refuse_options(schema)
    try:
        closed = compilable(schema)
        text = json.dumps(closed)
        refuse_too_large(closed, text)
        refuse_too_complex(closed)
        return str(LLMatcher.grammar_from_json_schema(text, overrides=_JSON_FORM))
    except RecursionError:
        raise InvalidParams("field 'schema' is nested too deep", {"field": "schema"}) from None
    except ValueError as problem:
        raise InvalidParams(f"field 'schema': {first_line(str(problem))}", {"field": "schema"}) from None


def compilable(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema in forms that llguidance takes and holds to. Raises InvalidParams where it has none."""
    simple = simplify(schema)
    names = Names(simple)
    places = places_of(simple, names)
    refuse_unsound(places)
    refuse_unheld(places)
    refuse_too_complex(simple)
    used = without_unused(simple, places)
    plain: dict[str, Any] = _plain(close(separate(used, Names(used), strict=True)))
    return plain


def _plain(schema: Schema) -> Schema:
    """Without what says where each schema comes from: references lead where they led without it."""
    if not isinstance(schema, dict):
        return schema
    plain = {key: value for key, value in schema.items() if key not in _ORIGINS}
    return mapped(plain, "", lambda _, each: _plain(each))


def first_line(message: str) -> str:
    """What llguidance says, without what it adds for its own developers."""
    return message.strip().splitlines()[0][:300] if message.strip() else "can't be compiled"
