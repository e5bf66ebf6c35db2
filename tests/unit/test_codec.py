"""Reading a line costs what the line costs."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from mlx_sidecar.protocol.codec import Refused, decode

CONTAINERS = 100_000


@pytest.mark.parametrize("closed", [True, False], ids=["sound", "torn"])
def test_a_line_of_many_containers_is_read_without_collecting_garbage(closed: bool) -> None:
    """There is none; and afterwards it is collected as before."""
    begun: list[str] = []

    def note(phase: str, _: dict[str, Any]) -> None:
        begun.append(phase)

    line = b"[" + b"[]," * CONTAINERS + (b"[]]" if closed else b"[]")
    gc.callbacks.append(note)
    try:
        assert isinstance(decode(line), Refused)
    finally:
        gc.callbacks.remove(note)
    assert len(begun) < 10
    assert gc.isenabled()
