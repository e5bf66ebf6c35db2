"""Finds the place in a schema for which it is refused, where the reason alone doesn't tell it.

Our bounds and llguidance look at a schema as a whole. So parts of it are tried by themselves: the innermost one that is
refused alone, and without which the rest is taken, is the place. Tries are bounded by the schema's length, and by time:
then the place is one further out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any

from mlx_sidecar.engine.json_schema import walk
from mlx_sidecar.engine.json_schema.exact import dumped
from mlx_sidecar.engine.json_schema.names import Names
from mlx_sidecar.engine.json_schema.references import fragment, moved
from mlx_sidecar.engine.json_schema.refusal import placed_refusal
from mlx_sidecar.errors import InvalidParams
from mlx_sidecar.protocol.schema_keywords import into, subschemas

_MOST_TRIES, _MOST_BYTES_TRIED, _MOST_SECONDS = 64, 2_000_000, 2.0

_WHOLE = "/$defs/whole"


def placed(schema: dict[str, Any], refused: InvalidParams, is_taken: Callable[[dict[str, Any]], bool]) -> InvalidParams:
    """The refusal of a schema that was read, with the place in it and what to do."""
    tries = min(_MOST_TRIES, _MOST_BYTES_TRIED // len(dumped(schema)))
    return placed_refusal(_Search(schema, is_taken, tries).innermost(), refused)


class _Search:
    def __init__(self, schema: dict[str, Any], is_taken: Callable[[dict[str, Any]], bool], tries: int) -> None:
        self._schema, self._names = schema, Names(schema)
        self._is_taken, self._left, self._until = is_taken, tries, monotonic() + _MOST_SECONDS

    def innermost(self) -> str:
        """The pointer of the smallest part that is to blame."""
        pointer, seen = "", {""}
        while self._left > 0:
            inner = (each for each in self._parts(pointer) if each not in seen and self._is_to_blame(each, pointer))
            found = next(inner, None)
            if found is None:
                break
            pointer = found
            seen.add(found)
        return pointer

    def _parts(self, pointer: str) -> Iterator[str]:
        schema = walk.at(self._schema, pointer)
        if not isinstance(schema, dict):
            return
        if "$ref" in schema:
            yield self._names.resolve(schema["$ref"])[0]
        for at, each in subschemas(schema, pointer):
            if isinstance(each, dict) and not at[len(pointer) :].startswith(("/$defs/", "/definitions/")):
                yield at

    def _is_to_blame(self, part: str, pointer: str) -> bool:
        if self._is_fine(self._schema, part):
            return False
        if not part.startswith(f"{pointer}/"):
            return True
        return self._is_fine(_without(self._schema, part.split("/")[1:]), pointer)

    def _is_fine(self, schema: dict[str, Any], pointer: str) -> bool:
        """Whether the part there is taken, if it is all that is asked for. True where there is no try left."""
        self._left = self._left - 1 if monotonic() < self._until else -1
        whole = {"$ref": fragment(f"{_WHOLE}{pointer}"), "$defs": {"whole": moved(schema, _WHOLE)}}
        return self._left < 0 or self._is_taken(whole)


def _without(schema: Any, steps: list[str]) -> Any:
    """The schema with any value allowed at a place."""
    if not steps:
        return True
    if isinstance(schema, list):
        place = int(steps[0])
        return [_without(each, steps[1:]) if number == place else each for number, each in enumerate(schema)]
    name = next(each for each in schema if into("", each)[1:] == steps[0])
    return {**schema, name: _without(schema[name], steps[1:])}
