"""Writes a schema that was read (see `reading`) as one of draft 2020-12, which the validator takes.

A tuple's `items` and `additionalItems` become `prefixItems` and `items`, `dependencies` become `dependentRequired` and
`dependentSchemas`; paths into them are written anew. A grammar needs none of that: it is made of what stands there.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from mlx_sidecar.engine.json_schema.references import OF_VALUES, fragment
from mlx_sidecar.protocol.schema_keywords import BY_NAME, into

_OF_PLACES = ("$schema", "$id", "id", "$anchor", "$dynamicAnchor", "$recursiveAnchor", "$vocabulary")

_NOTHING: dict[str, Any] = {"not": {}}
"""For false: jsonschema says of what that forbids no place."""


def in_2020_12(schema: dict[str, Any]) -> dict[str, Any]:
    """The same schema; what its references lead to isn't known by any other name."""
    written: dict[str, Any] = _written(schema, schema)
    return written


def _written(value: Any, root: dict[str, Any], *, is_map: bool = False) -> Any:
    if isinstance(value, list):
        return [_NOTHING if each is False else _written(each, root) for each in value]
    if not isinstance(value, dict):
        return value
    new: dict[str, Any] = {}
    for key, each in value.items():
        if is_map or key not in (*OF_VALUES, *_OF_PLACES):
            written = _written(each, root, is_map=key in BY_NAME and not is_map)
            new[key] = _NOTHING if is_map and each is False else written
        elif key in OF_VALUES:
            new[key] = each
    return new if is_map else _renamed(new, root)


def _renamed(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    if isinstance(schema.get("$ref"), str):
        schema["$ref"] = fragment(_path(unquote(schema["$ref"][1:]), root))
    others = schema.pop("additionalItems", True)
    if isinstance(schema.get("items"), list):
        schema["prefixItems"], schema["items"] = schema["items"], others
    depending = schema.pop("dependencies", {})
    for keyword, kind in (("dependentRequired", list), ("dependentSchemas", (dict, bool))):
        found = {name: each for name, each in depending.items() if isinstance(each, kind)}
        if found:
            schema[keyword] = {**found, **schema.get(keyword, {})}
    return schema


def _path(path: str, root: dict[str, Any]) -> str:
    """Where that stands in the schema as it is written here."""
    new, value, is_map = "", root, False
    for step in path.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        is_tuple = isinstance(value, dict) and isinstance(value.get("items"), list)
        renamed = {"dependencies": "dependentSchemas"}
        if is_tuple:
            renamed |= {"items": "prefixItems", "additionalItems": "items"}
        new = into(new, name if is_map or isinstance(value, list) else renamed.get(name, name))
        is_map = not is_map and name in BY_NAME and isinstance(value, dict)
        value = value[int(name)] if isinstance(value, list) else value.get(name, {})
    return new
