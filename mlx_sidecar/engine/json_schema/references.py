"""Writes every reference of a schema as a path from its root: it leads to the same place, whoever follows it.

A reference may be a path, an anchor, or the `$id` of a schema within. It is read from the nearest schema with an `$id`,
and from the root where it leads nowhere from there: generators write `id`s that nobody means. A `$dynamicRef` leads to
the one `$dynamicAnchor` of its name; among several it stays as it is, to be refused by name.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from urllib.parse import quote, unquote, urljoin

from mlx_sidecar.engine.json_schema import walk
from mlx_sidecar.protocol.schema_keywords import BY_NAME, into

OF_VALUES = ("enum", "const", "default", "examples", "example")
"""Keywords that hold values of an answer, in which nothing is a reference."""

_IN_FRAGMENTS = "/$!&'()*+,;=:@~"


Change = Callable[[dict[str, Any]], dict[str, Any]]


def with_paths(schema: dict[str, Any], change: Change) -> dict[str, Any]:
    """A copy with references as paths, and its fractions as decimals. What leads nowhere stays as it is.

    `change` makes another one of each object that may be a schema.
    """
    copied: dict[str, Any] = _Paths(schema, change).copied(schema, "", "")
    return copied


def fragment(path: str) -> str:
    """A reference to what stands at this path from the root."""
    return f"#{quote(path, _IN_FRAGMENTS)}"


def moved(value: Any, to: str, *, is_map: bool = False) -> Any:
    """A schema with references as paths, for a document in which it stands at the path `to`."""
    if isinstance(value, list):
        return [moved(each, to) for each in value]
    if not isinstance(value, dict):
        return value
    new = {
        key: each if key in OF_VALUES and not is_map else moved(each, to, is_map=key in BY_NAME and not is_map)
        for key, each in value.items()
    }
    if not is_map and isinstance(new.get("$ref"), str):
        new["$ref"] = f"#{quote(to, _IN_FRAGMENTS)}{new['$ref'][1:]}"
    return new


class _Paths:
    def __init__(self, root: dict[str, Any], change: Change) -> None:
        self._root, self._change = root, change
        self._urls: dict[str, str] = {}
        """Of each schema with an `$id`, by its path."""
        self._resources: dict[str, str] = {}
        """The path of each of these, by its URL."""
        self._anchors: dict[tuple[str, str], str] = {}
        """Paths by the resource and the name."""
        self._dynamic: Counter[str] = Counter()
        self._collect()

    def _collect(self) -> None:
        waiting: deque[tuple[Any, str, str, bool]] = deque([(self._root, "", "", False)])
        self._urls[""] = ""
        while waiting:
            value, path, home, is_map = waiting.popleft()
            if isinstance(value, dict):
                home = home if is_map else self._home(value, path, home)
                waiting.extend(
                    (each, into(path, key), home, key in BY_NAME and not is_map)
                    for key, each in value.items()
                    if is_map or key not in OF_VALUES
                )
            elif isinstance(value, list):
                waiting.extend((each, into(path, number), home, False) for number, each in enumerate(value))

    def _home(self, schema: dict[str, Any], path: str, home: str) -> str:
        """The resource that a schema belongs to: itself, if it has an `$id`."""
        name = schema.get("$id", schema.get("id"))
        if isinstance(name, str):
            url, _, anchor = name.partition("#")
            if url:
                self._urls[path] = _joined(self._urls[home], url)
                self._resources.setdefault(self._urls[path], path)
                home = path
            if anchor:
                self._anchors.setdefault((home, anchor), path)
        for key in ("$anchor", "$dynamicAnchor"):
            if isinstance(schema.get(key), str):
                self._anchors.setdefault((home, schema[key]), path)
                self._dynamic[schema[key]] += key == "$dynamicAnchor"
        self._dynamic["#"] += schema.get("$recursiveAnchor") is True
        return home

    def copied(self, value: Any, path: str, home: str, *, is_map: bool = False) -> Any:
        """A schema, or several: `is_map` where they stand behind names. `home` is the resource that it belongs to."""
        if isinstance(value, list):
            return [self.copied(each, into(path, number), home) for number, each in enumerate(value)]
        if not isinstance(value, dict):
            return _with_decimals(value)
        home = path if path in self._urls else home
        copy: dict[str, Any] = {}
        for key, each in value.items():
            if key in OF_VALUES and not is_map:
                copy[key] = _with_decimals(each)
            else:
                copy[key] = self.copied(each, into(path, key), home, is_map=key in BY_NAME and not is_map)
        return copy if is_map else self._change(self._led(copy, home))

    def _led(self, schema: dict[str, Any], home: str) -> dict[str, Any]:
        for key in ("$ref", "$dynamicRef", "$recursiveRef"):
            reference = schema.get(key)
            if not isinstance(reference, str):
                continue
            if key != "$ref" and self._dynamic[reference.rpartition("#")[2] or "#"] > 1:
                continue
            path = self._resolve(reference, home)
            if path is None:
                continue
            led = {each: value for each, value in schema.items() if each != key}
            if key == "$ref" or "$ref" not in schema:
                schema = {**led, "$ref": fragment(path)}
            elif isinstance(led.get("allOf", []), list):
                schema = {**led, "allOf": [*led.get("allOf", []), {"$ref": fragment(path)}]}
        return schema

    def _resolve(self, reference: str, home: str) -> str | None:
        url, _, name = reference.partition("#")
        name = unquote(name)
        starts = [home, ""]
        if url:
            whole = _joined(self._urls[home], url)
            starts = [self._resources[each] for each in (whole, url) if each in self._resources]
        for start in starts:
            path = start + name if not name or name.startswith("/") else self._anchors.get((start, name))
            if path is not None and isinstance(walk.at(self._root, path), (dict, bool)):
                return path
        return next((path for (_, anchor), path in self._anchors.items() if anchor == name), None) if not url else None


def _with_decimals(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_decimals(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_with_decimals(each) for each in value]
    return Decimal(repr(value)) if isinstance(value, float) else value


def _joined(base: str, name: str) -> str:
    try:
        return urljoin(base, name)
    except ValueError:  # no URL at all
        return name
