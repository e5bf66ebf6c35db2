"""Whatever is wrong with a GGUF file, its header is read whole or refused in one sentence, in little memory."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from mlx_sidecar.errors import ModelInvalid, ModelUnsupported, SidecarError
from mlx_sidecar.models.gguf import files
from mlx_sidecar.models.gguf.cursor import MoreBytesNeeded
from mlx_sidecar.models.gguf.header import parse_header
from tests.support.gguf_damage import damaged, sound

COUNT = 360
MOST_BYTES = 100_000_000
REFUSED = (ModelInvalid, ModelUnsupported)


def test_the_file_that_is_damaged_is_sound(tmp_path: Path) -> None:
    """Else nothing below would show anything."""
    path = tmp_path / "sound.gguf"
    path.write_bytes(sound())
    model = files.check(path)
    assert (model.header.architecture, len(model.places)) == ("llama", 12)


def _refusal(path: Path) -> SidecarError | None:
    try:
        files.check(path)
    except REFUSED as problem:
        return problem
    return None


@pytest.mark.parametrize("first", range(0, COUNT, 60))
def test_a_damaged_file_is_one_refusal(first: int, tmp_path: Path) -> None:
    """Or read as it stands, where the damage is in a name or a text."""
    tracemalloc.start()
    refused = 0
    try:
        for seed in range(first, first + 60):
            name, data = damaged(seed)
            path = tmp_path / f"{name}.gguf"
            path.write_bytes(data)
            if (problem := _refusal(path)) is not None:
                refused += 1
                assert path.name in problem.message, name
                assert len(problem.message) < 2000, name
                assert problem.data["file"] == path.name, name
        assert tracemalloc.get_traced_memory()[1] < MOST_BYTES
    finally:
        tracemalloc.stop()
    assert refused > 25


@pytest.mark.parametrize("first", range(0, COUNT, 60))
def test_the_beginning_of_a_damaged_file_is_refused_or_asks_for_more(first: int) -> None:
    """Of one that lies elsewhere: never for more than the file has, nor than is read at most."""
    for seed in range(first, first + 60):
        name, data = damaged(seed)
        count = 64
        while (needed := _needed(data, count, name)) is not None:
            assert count < needed <= len(data), name
            count = max(needed, 2 * count)


def _needed(data: bytes, count: int, name: str) -> int | None:
    """How many bytes reading goes on with, where these aren't enough."""
    try:
        parse_header(data[:count], name, len(data))
    except REFUSED:
        return None
    except MoreBytesNeeded as more:
        return more.at_least
    return None
