"""The refusal of a schema, with the place in it."""

from __future__ import annotations

from mlx_sidecar.errors import InvalidParams

_SHOWN_CHARS = 200


def refusal(pointer: str, reason: str) -> InvalidParams:
    """Names the place in the schema."""
    return _refused(pointer, f": {reason}")


def placed_refusal(pointer: str, refused: InvalidParams) -> InvalidParams:
    """A refusal of the whole, with the place that is to blame and what to do."""
    reason = refused.message.removeprefix("field 'schema'")
    if "nsatisfiable" in reason:
        reason = f": no value obeys it ({reason.removeprefix(': ')}): make it allow one"
    return _refused(pointer, f"{reason}; or send schema_mode 'check'")


def _refused(pointer: str, reason: str) -> InvalidParams:
    shown = pointer if len(pointer) <= _SHOWN_CHARS else f"{pointer[:_SHOWN_CHARS]}…"
    where = f"at '{shown}'" if pointer else "at '' (its root)"
    return InvalidParams(f"field 'schema' {where}{reason}", {"field": "schema", "pointer": shown})
