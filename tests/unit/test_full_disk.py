"""A disk that fills up in the middle of a download, which a test can only pretend."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from mlx_sidecar.errors import DestinationInvalid, DiskFull
from mlx_sidecar.hub.child import carry_out
from mlx_sidecar.hub.messages import DownloadRequest, Message
from tests.support.hub import BigFile, Hub

SIZE = 3_000_000


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub for this very process, which takes the child's place."""
    made = Hub()
    # One file: with others, threads of the first try would still be at work in the second.
    made.add("owner/tiny", {"model.safetensors": BigFile(SIZE, seed=1)})
    monkeypatch.setattr(constants, "ENDPOINT", made.url)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    yield made
    made.close()


class FullDisk:
    """Takes a number of bytes; then, and in the middle of a write, there is no room."""

    def __init__(self, room: int, error: int) -> None:
        self.room, self._error, self._write = room, error, os.write

    def write(self, descriptor: int, data: memoryview) -> int:
        """As os.write."""
        if not self.room:
            raise OSError(self._error, os.strerror(self._error))
        written = self._write(descriptor, data[: self.room])
        self.room -= written
        return written


@pytest.mark.parametrize(
    ("error", "kind"), [(errno.ENOSPC, DiskFull), (errno.EDQUOT, DiskFull), (errno.EROFS, DestinationInvalid)]
)
def test_a_disk_that_fills_up_keeps_what_came(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int, kind: type[Exception]
) -> None:
    """The sentence says what to do, nothing is taken for a model, and with room the download goes on."""
    order = DownloadRequest(repo_id="owner/tiny", destination=str(tmp_path / "to"))
    said: list[Message] = []
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", FullDisk(1_000_000, error).write)
        with pytest.raises(kind, match=r"make room|choose another folder") as refused:
            carry_out(order, said.append)
    if kind is DiskFull:
        # A piece of which only a part was written doesn't count.
        assert 2_000_000 <= refused.value.data["needed_bytes"] <= 2_000_000 + 256 * 1024  # type: ignore[attr-defined]
    assert not (tmp_path / "to" / "model.safetensors").exists()
    hub.requests.clear()
    completed = carry_out(order, said.append)
    assert completed.resumed_bytes == 1_000_000
    (resumed,) = [request for request in hub.requests if request.origin == "storage"]
    assert resumed.headers["range"] == "bytes=1000000-"
    assert (tmp_path / "to" / "model.safetensors").stat().st_size == SIZE
