"""mlx_lm has what the worker uses of it, under the names and with the parameters that it uses, and no more is used."""

from __future__ import annotations

import ast
import inspect
from functools import cache
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import mlx.core as mx
import pytest
from mlx_lm.models.cache import ArraysCache, CacheList, KVCache, RotatingKVCache

import mlx_sidecar
from tests.support.mlx_lm_surface import ATTRIBUTES, CLASSES, FUNCTIONS, VALUES

PACKAGE = Path(mlx_sidecar.__file__).parent
MAKERS: dict[str, Any] = {"CacheList": lambda: CacheList(KVCache()), "ArraysCache": lambda: ArraysCache(2)}


@cache
def nodes() -> list[ast.AST]:
    """Of the package's modules."""
    return [node for path in PACKAGE.rglob("*.py") for node in ast.walk(ast.parse(path.read_text()))]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_take_the_parameters_that_they_are_given(name: str) -> None:
    """In this order."""
    assert tuple(inspect.signature(resolve_name(name)).parameters)[: len(FUNCTIONS[name])] == FUNCTIONS[name]


@pytest.mark.parametrize("name", [*VALUES, *CLASSES])
def test_names_are_there(name: str) -> None:
    """Classes with their public members."""
    found = resolve_name(name)
    assert not [member for member in CLASSES.get(name, ()) if not hasattr(found, member)]


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_instances_have_their_attributes(name: str) -> None:
    """As they are made."""
    kind = name.rpartition(":")[2]
    made = MAKERS.get(kind, resolve_name(name))()
    assert not [attribute for attribute in ATTRIBUTES[name] if not hasattr(made, attribute)]


def test_nothing_else_is_imported() -> None:
    """Wherever in the package."""
    imported = {
        f"{node.module}:{alias.name}"
        for node in nodes()
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "mlx_lm"
        for alias in node.names
    }
    batches = {name for name in CLASSES if ":Batch" in name}
    assert imported == {*FUNCTIONS, *VALUES, *CLASSES} - batches


def test_no_private_name_is_looked_up() -> None:
    """By getattr, hasattr or setattr; attributes with an underscore are left to the linter."""
    found = [
        ast.unparse(node)
        for node in nodes()
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("getattr", "setattr")
        for argument in node.args[1:2]
        if isinstance(argument, ast.Constant)
        and str(argument.value).startswith("_")
        and not str(argument.value).startswith("__")
    ]
    assert found == []


@pytest.mark.parametrize("make", [KVCache, lambda: RotatingKVCache(max_size=8)], ids=["attention", "window"])
def test_caches_merge_pad_extend_filter_and_extract(make: Any) -> None:
    """The way of two prompts of different lengths into a batch, of a third one behind them, and of one out again."""

    def computed(layer: Any, *rows: list[float]) -> Any:
        numbers = mx.array(rows)[:, None, :, None]
        layer.update_and_fetch(numbers, numbers)
        return layer

    batch = make().merge([make(), computed(make(), [1.0, 2.0])])
    batch.prepare(lengths=[3, 2], right_padding=[0, 1])
    computed(batch, [3.0, 4.0, 5.0], [6.0, 7.0, 0.0])
    batch.finalize()
    batch.extend(make().merge([computed(make(), [8.0])]))
    computed(batch, [10.0], [11.0], [12.0])
    batch.filter([1, 2])
    wanted = [[1.0, 2.0, 6.0, 7.0, 11.0], [8.0, 12.0]]
    for place, numbers in enumerate(wanted):
        layer = batch.extract(place)
        assert layer.offset == len(numbers)
        assert layer.keys[0, 0, :, 0].tolist() == numbers
