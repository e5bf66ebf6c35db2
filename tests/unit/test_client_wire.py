"""Requests of the Python client as lines: what the worker couldn't read would fail all calls, so it never leaves."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest

from mlx_sidecar.client import calls
from mlx_sidecar.client.wire import encode
from mlx_sidecar.errors import InvalidParams
from mlx_sidecar.protocol.codec import Accepted, decode


def nested(levels: int) -> dict[str, Any]:
    """Objects in objects, so many."""
    value: dict[str, Any] = {}
    for _ in range(levels - 1):
        value = {"a": value}
    return value


@pytest.mark.parametrize("schema", [{"\ud800": 1}, {"a": ["\ud800"]}, nested(1024), nested(1500), nested(50_000)])
def test_what_the_worker_could_not_read_is_refused(schema: dict[str, Any]) -> None:
    """Half a surrogate pair, in names too; and what is nested too deep, also where Python itself could write that."""
    with pytest.raises(InvalidParams):
        encode(1, calls.generate("x", schema=schema).request)


@pytest.fixture
def recursion() -> Iterator[None]:
    """More of it than there is by default, as some versions of Python have."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(5000)
    yield
    sys.setrecursionlimit(before)


@pytest.mark.usefixtures("recursion")
def test_as_deep_as_the_worker_reads_and_no_deeper() -> None:
    """However deep this Python could write."""
    line = encode(1, calls.generate("x", schema=nested(1023)).request)
    assert isinstance(decode(line), Accepted)
    with pytest.raises(InvalidParams, match="deeper than 1024"):
        encode(1, calls.generate("x", schema=nested(1024)).request)
