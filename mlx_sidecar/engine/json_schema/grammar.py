"""From a JSON Schema to a grammar of llguidance: checked, rewritten, closed."""

from __future__ import annotations

import json
from typing import Any

from llguidance import LLMatcher

from mlx_sidecar.engine.json_schema.closing import close
from mlx_sidecar.engine.json_schema.limits import refuse_too_complex
from mlx_sidecar.errors import InvalidParams

_LLGUIDANCE_OPTIONS = "x-guidance"
"""A keyword with which a schema could have llguidance overlook what it doesn't know."""

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


def spelled(schema: dict[str, Any]) -> str:
    """A schema as JSON."""
    try:
        return json.dumps(schema)
    except RecursionError:
        raise InvalidParams("field 'schema' is nested too deep", {"field": "schema"}) from None


def json_grammar(schema: dict[str, Any], text: str) -> str:
    """The grammar of a schema, of which `text` is the JSON. Raises InvalidParams where there is none."""
    refuse_too_complex(schema, text)
    try:
        closed = close({key: value for key, value in schema.items() if key != _LLGUIDANCE_OPTIONS})
        text = json.dumps(closed)
        refuse_too_complex(closed, text)
        return str(LLMatcher.grammar_from_json_schema(text, overrides=_JSON_FORM))
    except RecursionError:
        raise InvalidParams("field 'schema' is nested too deep", {"field": "schema"}) from None
    except ValueError as problem:
        raise InvalidParams(f"field 'schema': {first_line(str(problem))}", {"field": "schema"}) from None


def first_line(message: str) -> str:
    """What llguidance says, without what it adds for its own developers."""
    return message.strip().splitlines()[0][:300] if message.strip() else "can't be compiled"
