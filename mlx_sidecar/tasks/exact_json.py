"""The value of a JSON text, where a line of the protocol can carry it exactly."""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation
from typing import Any

import orjson


def exact_value(text: str) -> Any:
    """The value, or None where the text is no JSON or a line would say something else than the text.

    A line has numbers of 64 bits (integers, or doubles) and 254 levels.
    """
    try:
        value = json.loads(text, parse_float=_double, parse_constant=_refuse)
        orjson.dumps(value)  # refuses integers beyond 64 bits, and what nests too deep
    except (ValueError, TypeError, RecursionError):
        return None
    return value


def _double(spelled: str) -> float:
    """Raises ValueError where the double that is nearest is another number than the spelled one."""
    number = float(spelled)
    try:
        is_exact = Decimal(repr(number)) == Decimal(spelled)
    except InvalidOperation:  # an exponent beyond any double's
        is_exact = False
    if not is_exact:
        raise ValueError(f"a double can't hold {len(spelled)} digits of a number")
    return number


def _refuse(spelled: str) -> None:
    raise ValueError(f"{spelled} isn't JSON")
