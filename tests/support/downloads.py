"""What tests of downloads have in common: a small repository, a worker that fetches it, and what must be there then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.hub import BigFile, Hub
from tests.support.worker import Worker

REPO = "owner/tiny"
BIG = 3_000_000
DOWNLOAD: dict[str, Any] = {"command": "download-model", "repo_id": REPO, "id": "get"}


def tiny_hub() -> Hub:
    """A hub with one small repository."""
    made = Hub()
    made.add(
        REPO,
        {
            "config.json": b'{"model_type": "llama"}',
            "tokenizer.json": b"{}" * 500,
            "model-00001.safetensors": BigFile(BIG, seed=1),
            "model-00002.safetensors": BigFile(BIG // 2, seed=2),
            "README.md": b"read me",
            "modeling.py": b"import os",
            "pytorch_model.bin": b"pickle",
        },
    )
    return made


WANTED = ["config.json", "model-00001.safetensors", "model-00002.safetensors", "tokenizer.json"]


def worker(hub: Hub, tmp_path: Path, *flags: str, cwd: Path | None = None, **env: str) -> Worker:
    """A worker whose hub is this one, and whose cache is the test's."""
    settings = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "home"), **env}
    return Worker("--download-stall-s", "0.5", *flags, env=settings, cwd=cwd)


def content(hub: Hub, name: str) -> bytes:
    """What the hub holds under that name."""
    file, data = hub.repos[REPO].entries[name], b""
    while len(data) < file.size:
        data += bytes(file.piece(len(data)))
    return data


def assert_whole(hub: Hub, folder: Path) -> None:
    """The wanted files are there to the byte, and nothing else but the manifest."""
    found = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    assert sorted(name for name in found if not name.startswith(".mlx-sidecar")) == WANTED
    for name in WANTED:
        assert found[name].read_bytes() == content(hub, name)


def gets(hub: Hub, name: str = "*.safetensors") -> list[Any]:
    """The requests for files of that name that got content."""
    return [request for request in hub.requests if request.method == "GET" and request.fits(name)]
