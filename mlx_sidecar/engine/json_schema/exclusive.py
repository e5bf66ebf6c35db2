"""Whether the branches of a `oneOf` exclude each other: then it is `anyOf`, which a grammar can say.

Judged on the schema as it was given. Closed objects may exclude each other where open ones don't, and an answer must
obey exactly one branch of the schema that was given.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

from mlx_sidecar.engine.json_schema.names import Named, Names, Schema
from mlx_sidecar.errors import InvalidParams

_MOST_BRANCHES = 32
"""That are compared each with each other, where no `const` tells all of them apart."""

_MOST_LEVELS = 8
"""Of properties within properties that are compared."""


def refuse_unclear(branches: list[Schema], names: Names) -> None:
    """Raises InvalidParams where it isn't certain that no value obeys two branches."""
    found = [names.of(branch) for branch in branches]
    clear = _all_apart([each.literals for each in found]) or _are_told_apart(found, names)
    if not clear and len(branches) <= _MOST_BRANCHES:
        clear = all(_exclude(a, b, names, _MOST_LEVELS) for a, b in combinations(branches, 2))
    if not clear:
        raise InvalidParams(
            "field 'schema': it isn't certain that the branches of a 'oneOf' exclude each other: take 'anyOf', "
            "or give each branch a required property with another 'const'",
            {"field": "schema"},
        )


def _are_told_apart(branches: list[Named], names: Names) -> bool:
    """Whether there is a property that all of these objects must have, each with values of its own."""
    if any(each.types != {"object"} for each in branches):
        return False
    for name in frozenset.intersection(*(frozenset(each.required) for each in branches)):
        schemas = [each.names[name] for each in branches]
        if all(schemas) and _all_apart([names.of(each[0]).literals for each in schemas]):
            return True
    return False


def _all_apart(literals: list[list[Any] | None]) -> bool:
    values: list[Any] = []
    for each in literals:
        if each is None or not _are_scalars(each):
            return False
        values += {_key(value): value for value in each}.values()
    return len({_key(value) for value in values}) == len(values)


def _exclude(a: Schema, b: Schema, names: Names, levels: int) -> bool:
    """Whether no value obeys both. False where that isn't certain."""
    if a is False or b is False:
        return True
    one, other = names.of(a), names.of(b)
    if not one.types & other.types or _are_apart(one.literals, other.literals):
        return True
    if levels == 0:
        return False
    for named, against in ((one, b), (other, a)):
        if any(all(_exclude(each, against, names, levels - 1) for each in some) for some in named.choices.values()):
            return True
    if one.types & other.types != {"object"}:
        return False
    return _lacks(one, other) or _lacks(other, one) or _differ(one, other, names, levels - 1)


def _lacks(one: Named, other: Named) -> bool:
    """Whether one object must have a name that the other forbids."""
    return other.forbids and any(not other.names.get(name) for name in one.required)


def _differ(one: Named, other: Named, names: Names, levels: int) -> bool:
    """Whether there is a property that one of them must have and whose schemas exclude each other."""
    return any(
        _exclude(a, b, names, levels)
        for name in one.required | other.required
        for a in one.names.get(name, ())
        for b in other.names.get(name, ())
    )


def _are_apart(some: list[Any] | None, others: list[Any] | None) -> bool:
    """Whether two lists of values have none in common. Knows that of scalars only."""
    if some is None or others is None or not _are_scalars([*some, *others]):
        return False
    return not {_key(each) for each in some} & {_key(each) for each in others}


def _are_scalars(values: list[Any]) -> bool:
    return not any(isinstance(each, (dict, list)) for each in values)


def _key(value: Any) -> tuple[bool, Any]:
    return isinstance(value, bool), value  # for Python true is 1
