"""What a place promises of the disk, which no test can have as it would need it."""

from __future__ import annotations

import shutil
import time
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from mlx_sidecar.disk import Disk
from mlx_sidecar.errors import DiskFull, HubError
from mlx_sidecar.hub import api
from mlx_sidecar.hub.child import carry_out
from mlx_sidecar.hub.folder_place import FolderPlace
from mlx_sidecar.hub.messages import DownloadRequest
from mlx_sidecar.hub.meter import Meter
from mlx_sidecar.hub.plan import Plan, PlannedFile
from tests.support.downloads import REPO, tiny_hub
from tests.support.hub import Hub

MIB = 2**20
Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub for this very process."""
    made = tiny_hub()
    monkeypatch.setattr(constants, "ENDPOINT", made.url)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("free", "needed", "fits"), [(613, 100, True), (611, 100, False), (100, 0, True), (10**6, 10**6 - 511, False)]
)
def test_some_room_stays_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, needed: int, fits: bool
) -> None:
    """512 MiB, unless nothing is to come."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, free * MIB))
    made = FolderPlace(tmp_path, Plan("o/n", "c" * 40, (PlannedFile("x", 1, "a" * 40),)), instead=True)
    made.prepare()
    if fits:
        made.check_room(needed * MIB)
        return
    with pytest.raises(DiskFull) as refused:
        made.check_room(needed * MIB)
    assert refused.value.data == {"needed_bytes": (needed + 512) * MIB, "free_bytes": free * MIB}


def test_a_file_is_on_the_disk_before_it_counts_and_the_manifest_too(hub: Hub, tmp_path: Path) -> None:
    """Or a power loss would leave a complete model of zeros."""
    events: list[str] = []

    class Watched(Disk):
        def replace(self, source: Path, target: Path) -> None:
            events.append(f"named {target.name}")
            super().replace(source, target)

        def sync(self, descriptor: int) -> None:
            events.append("on the disk")
            super().sync(descriptor)

    order = DownloadRequest(repo_id=REPO, destination=str(tmp_path / "to"), allow_patterns=["*00001*"])
    carry_out(order, lambda _: None, Watched())
    digest = hub.repos[REPO].digest("model-00001.safetensors")
    assert events == [
        "on the disk",
        f"named {digest}",
        "named model-00001.safetensors",
        "on the disk",
        "named .mlx-sidecar.json",
    ]


def test_speed_is_that_of_the_last_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five of them."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    made = Meter(10_000, 1)
    made.add_received(5000, "x")
    now[0] += 5
    assert made.report().bytes_per_s == 1000
    now[0] += 1
    assert made.report().bytes_per_s == 0
    made.add_received(500, "x")
    assert (made.report().bytes_per_s, made.report().eta_s) == (100, 45)


def test_an_answer_without_end_is_not_read_to_the_end(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hub could fill the memory with it."""
    monkeypatch.setattr(api, "_MAX_BYTES", 100)
    with pytest.raises(HubError, match="doesn't end"):
        carry_out(DownloadRequest(repo_id=REPO, destination=str(tmp_path)), lambda _: None)
    assert len(hub.requests) == 1
