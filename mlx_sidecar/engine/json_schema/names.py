"""Which names a JSON Schema gives to the properties of an object, counted over all the parts that it is made of.

The parts of a schema are what holds of the same value: itself, what its `$ref` leads to, each entry of its `allOf`.
An `anyOf` or `oneOf` is a choice: its branches are parts only where one of them is chosen.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from mlx_sidecar.engine.json_schema import walk
from mlx_sidecar.engine.json_schema.references import moved
from mlx_sidecar.engine.json_schema.refusal import refusal
from mlx_sidecar.errors import InvalidParams

Schema = Any
"""An object, or true (anything) or false (nothing)."""

_TYPES = frozenset({"null", "boolean", "number", "string", "array", "object"})


@dataclass
class Named:
    """What the parts of one schema say of an object together."""

    names: dict[str, list[Schema]] = field(default_factory=dict)
    """The schemas of each name, in the order in which the names stand; none for one that is required only."""
    patterns: dict[str, None] = field(default_factory=dict)
    required: set[str] = field(default_factory=set)
    has_names: bool = False
    """A part has `properties` or `patternProperties`, if only an empty one."""
    says: bool = False
    """A part says what other names are: with `additionalProperties`."""
    forbids: bool = False
    """A part without patterns forbids other names than its own."""
    choices: dict[int, list[Schema]] = field(default_factory=dict)
    """The lists of branches, by their identity."""
    types: frozenset[str] = _TYPES
    literals: list[Any] | None = None
    """The only values there are, where `const` or `enum` tells."""

    def add(self, other: Named) -> None:
        """Another part holds as well."""
        self._add_names(other)
        self.required |= other.required
        self.has_names |= other.has_names
        self.says |= other.says
        self.forbids |= other.forbids
        self.choices |= other.choices
        self.types &= other.types
        self.literals = other.literals if self.literals is None else self.literals

    def add_branch(self, other: Named) -> None:
        """Another part may hold as well: its names count, and nothing else that it says."""
        self._add_names(other)
        self.has_names |= other.has_names
        self.says |= other.says and not other.forbids

    def _add_names(self, other: Named) -> None:
        for name, schemas in other.names.items():
            self.names.setdefault(name, []).extend(schemas)
        self.patterns |= other.patterns


class Names:
    """Finds names in one schema whose references are paths (see `references`); each place is looked at once."""

    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        self._known: dict[int, tuple[Schema, Named]] = {}

    def of(self, schema: Schema) -> Named:
        """What this schema names. What leads back to itself adds nothing there."""
        if not isinstance(schema, dict):
            return Named()
        if id(schema) not in self._known:
            found = Named()
            self._known[id(schema)] = schema, found  # with the schema: its identity must stay its own
            for key in schema:
                self._add(found, schema, key)
        return self._known[id(schema)][1]

    def of_branches(self, branches: Iterable[Schema]) -> Named:
        """What any of these branches names, choices within them included."""
        found = Named()
        for branch in branches:
            named = self.of(branch)
            found.add_branch(named)
            found.add_branch(self.of_branches(each for inner in named.choices.values() for each in inner))
        return found

    def _add(self, found: Named, schema: dict[str, Any], key: str) -> None:
        value = schema[key]
        match key:
            case "properties" | "patternProperties" if isinstance(value, dict):
                found.has_names |= not _only_forbids(schema)
                if key == "properties":
                    for name, inner in value.items():
                        found.names.setdefault(name, []).append(inner)
                else:
                    found.patterns |= dict.fromkeys(value)
            case "required" if isinstance(value, list):
                names = [name for name in value if isinstance(name, str)]
                found.required |= set(names)
                for name in names:
                    found.names.setdefault(name, [])
            case "additionalProperties":
                found.says = True
                found.forbids |= value is False and not schema.get("patternProperties")
            case "type":
                types = value if isinstance(value, list) else [value]
                found.types &= {"number" if each == "integer" else each for each in types if isinstance(each, str)}
            case "const" | "enum":
                found.literals = value if key == "enum" and isinstance(value, list) else [value]
            case "allOf" if isinstance(value, list):
                for part in value:
                    found.add(self.of(part))
            case "$ref":
                with suppress(InvalidParams):  # whoever looks at the reference itself tells what is wrong with it
                    found.add(self.of(self.resolve(value)[1]))
            case "anyOf" | "oneOf" if isinstance(value, list):
                found.choices[id(value)] = value

    def alone(self, schema: dict[str, Any]) -> dict[str, Any]:
        """A schema of this one, as one by itself: what it refers to is with it."""
        return {"allOf": [moved(schema, "/whole")], "whole": moved(self._root, "/whole")}

    def resolve(self, reference: Any, at: str = "") -> tuple[str, Schema]:
        """Where a reference leads: the path, and what is there. `at` is where it stands."""
        if isinstance(reference, str) and reference.startswith("#"):
            path = unquote(reference[1:])
            found = walk.at(self._root, path) if path == "" or path.startswith("/") else None
            if isinstance(found, (dict, bool)):
                return path, found
        raise refusal(
            at,
            f"'$ref' {str(reference)[:100]!r} leads to no schema in it; write a path like '#/$defs/name'",
        )


def _only_forbids(schema: dict[str, Any]) -> bool:
    """Whether it says which names there mustn't be, and nothing of those that there are."""
    names = schema.get("properties")
    return (
        schema.keys() <= {"properties", "required"}
        and isinstance(names, dict)
        and bool(names)
        and not any(names.values())
    )
