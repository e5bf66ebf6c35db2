"""The refusal of a schema, with the place in it."""

from __future__ import annotations

from mlx_sidecar.errors import InvalidParams

_SHOWN_CHARS = 200


def refusal(pointer: str, reason: str) -> InvalidParams:
    """Names the place in the schema."""
    shown = pointer if len(pointer) <= _SHOWN_CHARS else f"{pointer[:_SHOWN_CHARS]}…"
    where = f" at '{shown}'" if pointer else ""
    return InvalidParams(f"field 'schema'{where}: {reason}", {"field": "schema", "pointer": shown})
