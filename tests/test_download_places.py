"""What a download leaves in its place, whatever was there and whenever it was ended."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
from huggingface_hub import constants

from mlx_sidecar.errors import NoConnection
from mlx_sidecar.hub.child import carry_out
from mlx_sidecar.hub.downloads import Downloads
from mlx_sidecar.hub.messages import DownloadRequest, Failed
from tests.support.downloads import DOWNLOAD, REPO, WANTED, assert_whole, content, gets, worker
from tests.support.hub import Fault, Hub


def test_what_lies_in_the_working_folder_is_not_run(hub: Hub, tmp_path: Path) -> None:
    """Somebody's downloads may hold an ssl.py, and the hub's token is in the environment."""
    for name in ("ssl.py", "httpx2.py", "huggingface_hub.py", "sitecustomize.py"):
        (tmp_path / name).write_text(f"open({str(tmp_path / 'was run')!r}, 'w')")
    with worker(hub, tmp_path, cwd=tmp_path) as it:
        it.demand({**DOWNLOAD, "destination": str(tmp_path / "to")})
    assert not (tmp_path / "was run").exists()


@pytest.mark.parametrize("revision", ["../../../../victim", "/victim", "a\0b", "a//b", "x" * 300, ".partial/x"])
def test_a_revision_is_no_path(hub: Hub, tmp_path: Path, revision: str) -> None:
    """It becomes a file's name in the cache, and is refused before the hub is asked."""
    with worker(hub, tmp_path) as it:
        assert it.ask({**DOWNLOAD, "revision": revision})["code"] == "invalid_params"
    assert hub.requests == []


def test_two_workers_do_not_fetch_into_one_place(hub: Hub, tmp_path: Path) -> None:
    """The second is told, and leaves alone what the first has."""
    hold = Fault("*00001*", hold=1_000_000)
    hub.faults.append(hold)
    request = {**DOWNLOAD, "destination": str(tmp_path / "to")}
    with worker(hub, tmp_path, "--download-stall-s", "60") as first, worker(hub, tmp_path) as second:
        first.send(request)
        assert hold.reached.wait(60)
        assert second.ask(request)["code"] == "download_busy"
        hold.release()
        assert first.ending("get")["success"] is True
    assert_whole(hub, tmp_path / "to")


def test_a_smaller_download_spares_what_a_larger_one_has(hub: Hub, tmp_path: Path) -> None:
    """It was cancelled, and goes on afterwards."""
    hold = Fault("*00001*", hold=1_000_000)
    hub.faults.append(hold)
    request = {**DOWNLOAD, "destination": str(tmp_path / "to")}
    with worker(hub, tmp_path, "--download-stall-s", "60") as it:
        it.send(request)
        assert hold.reached.wait(60)
        while it.read_until("get", "progress")["downloaded_bytes"] < 1_000_000:
            pass
        it.demand({"command": "cancel", "target": "get", "id": "stop"})
        it.ending("get")
        it.demand({**request, "allow_patterns": ["config.json"]})
        assert it.demand(request)["resumed_bytes"] >= 1_000_000 - 256 * 1024
    assert_whole(hub, tmp_path / "to")


def test_another_repository_is_not_mixed_in(hub: Hub, tmp_path: Path) -> None:
    """Its weights would be loaded together with those that are there."""
    hub.add("owner/other", {"config.json": b"{}", "model.safetensors": b"x"})
    with worker(hub, tmp_path) as it:
        it.demand({**DOWNLOAD, "destination": str(tmp_path / "to")})
        line = it.ask({**DOWNLOAD, "repo_id": "owner/other", "destination": str(tmp_path / "to")})
    assert line["code"] == "destination_invalid"
    assert REPO in line["error"]
    assert_whole(hub, tmp_path / "to")


def test_an_altered_file_is_not_taken_for_its_twin(hub: Hub, tmp_path: Path) -> None:
    """Each path is looked at, and the copies are files of their own."""
    hub.add("owner/twins", {"config.json": b"{}", "a.json": b"{}", "b.json": b"{}"})
    request = {**DOWNLOAD, "repo_id": "owner/twins", "destination": str(tmp_path)}
    with worker(hub, tmp_path / "home") as it:
        it.demand(request)
        for name in ("config.json", "a.json"):
            (tmp_path / name).write_bytes(b"[]")
            (tmp_path / ".mlx-sidecar.json").unlink()
            it.demand(request)
            assert [(tmp_path / each).read_bytes() for each in ("config.json", "a.json", "b.json")] == [b"{}"] * 3
    assert {path.stat().st_nlink for path in tmp_path.glob("*.json")} == {1}


# The cache


def cached(hub: Hub, tmp_path: Path) -> tuple[Path, Path]:
    """A repository's folder in the cache, and the snapshot of its main branch."""
    root = tmp_path / "home" / "hub" / "models--owner--tiny"
    return root, root / "snapshots" / hub.repos[REPO].commit


def test_a_link_that_is_gone_is_put_back(hub: Hub, tmp_path: Path) -> None:
    """Without fetching what its blob still has."""
    _, snapshot = cached(hub, tmp_path)
    with worker(hub, tmp_path) as it:
        it.demand(DOWNLOAD)
        (snapshot / WANTED[1]).unlink()
        hub.requests.clear()
        it.demand(DOWNLOAD)
    assert len(hub.requests) == 1
    assert (snapshot / WANTED[1]).read_bytes() == content(hub, WANTED[1])


def test_the_branch_is_named_again_when_its_commit_is_there_already(hub: Hub, tmp_path: Path) -> None:
    """Fetched by its own name before, which says nothing of the branch."""
    with worker(hub, tmp_path) as it:
        it.demand(DOWNLOAD)
        commit = hub.repos[REPO].add_commit({"new.json": b"{}"})
        root, _ = cached(hub, tmp_path)
        it.demand({**DOWNLOAD, "revision": commit})
        assert (root / "refs" / "main").read_text() != commit
        it.demand(DOWNLOAD)
    assert (root / "refs" / "main").read_text() == commit


# Ended in the middle of the last step


class Crash(BaseException):
    """The process ends here."""


def crashing(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """Let the process end at its n-th change of the file system."""
    changes = iter(range(10_000))

    def counted(change: Callable[..., Any]) -> Callable[..., Any]:
        def made(*arguments: Any, **options: Any) -> Any:
            if next(changes) == at:
                raise Crash
            return change(*arguments, **options)

        return made

    for name in ("replace", "unlink", "symlink_to"):
        monkeypatch.setattr(Path, name, counted(getattr(Path, name)))


@pytest.mark.parametrize("at", range(0, 24, 2))
@pytest.mark.parametrize("into_cache", [False, True], ids=["folder", "cache"])
def test_whenever_it_ends_nothing_is_a_mixture_and_the_next_run_is_right(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int, into_cache: bool
) -> None:
    """The second of two revisions; as long as its files aren't all there, there is no config.json."""
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "home" / "hub"))
    order = DownloadRequest(repo_id=REPO, destination=None if into_cache else str(tmp_path / "to"))
    carry_out(order, lambda _: None)
    new = {name: content(hub, name)[::-1] for name in WANTED if name != WANTED[2]} | {WANTED[2]: None}
    hub.repos[REPO].add_commit(new)
    place = cached(hub, tmp_path)[1] if into_cache else tmp_path / "to"
    with monkeypatch.context() as patch:
        crashing(patch, at)
        try:
            carry_out(order, lambda _: None)
        except Crash:
            if (place / "config.json").exists() and (place / "config.json").read_bytes() == new["config.json"]:
                assert (place / WANTED[1]).read_bytes() == new[WANTED[1]]
    carry_out(order, lambda _: None)
    assert {path.name: path.read_bytes() for path in place.iterdir() if not path.name.startswith(".")} == {
        name: data for name, data in new.items() if data is not None
    }
    if into_cache:
        assert (place.parent.parent / "refs" / "main").read_text() == hub.repos[REPO].commit


# What the hub answers


@pytest.mark.parametrize(
    "fault",
    [
        Fault("*00001*", status=200, body=b"<html>please log in</html>"),
        Fault("*00001*", status=416, body=b"", origin="storage"),
        Fault("*00001*", headers={"Content-Range": None}, origin="storage"),
        Fault("*00001*", headers={"Content-Range": "bytes 5-9/10"}, origin="storage"),
        Fault("*00001*", status=403, origin="storage"),
    ],
    ids=lambda fault: f"{fault.status} {fault.headers}",
)
def test_one_odd_answer_costs_nothing_that_came(hub: Hub, tmp_path: Path, fault: Fault) -> None:
    """It is asked again from there; the page of a proxy becomes no part of a model."""
    hub.faults += [Fault("*00001*", cut=1_000_000), fault.anew()]
    with worker(hub, tmp_path) as it:
        it.demand({**DOWNLOAD, "destination": str(tmp_path / "to")})
    assert_whole(hub, tmp_path / "to")
    assert gets(hub, "*00001*")[-1].headers["range"] == "bytes=1000000-"


def test_a_server_that_refuses_to_go_on_is_not_asked_for_ever(hub: Hub, tmp_path: Path) -> None:
    """It cuts, and then knows no such range, again and again."""
    for _ in range(40):
        hub.faults += [
            Fault("*00001*", cut=1_000_000, origin="storage"),
            Fault("*00001*", status=416, origin="storage", times=2),
        ]
    with worker(hub, tmp_path) as it:
        assert it.ask({**DOWNLOAD, "destination": str(tmp_path / "to")})["type"] == "error"
    assert len(gets(hub, "*00001*")) < 40


def test_a_mismatch_is_fetched_once_more_and_then_gone(hub: Hub, tmp_path: Path) -> None:
    """Twice in all; nothing of it stays."""
    hub.faults.append(Fault("*00001*", times=None, wrong=700_000))
    with worker(hub, tmp_path) as it:
        assert it.ask({**DOWNLOAD, "destination": str(tmp_path / "to")})["code"] == "checksum_mismatch"
    assert len([request for request in gets(hub, "*00001*") if request.origin == "storage"]) == 2
    assert not list((tmp_path / "to").rglob(f"{hub.repos[REPO].digest(WANTED[1])}*"))


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b'"\xff"', b"{", b"null", b'{"siblings": [1]}', b'{"siblings": [{}]}']
)
def test_an_answer_that_is_none_is_the_hubs_fault(hub: Hub, tmp_path: Path, body: bytes) -> None:
    """And no bug of ours."""
    hub.faults.append(Fault("/api/*", status=200, body=body))
    with worker(hub, tmp_path) as it:
        assert it.ask(DOWNLOAD)["code"] in {"hub_error", "invalid_params"}


def test_a_hub_that_is_silent_from_the_beginning_is_a_stall_that_is_reported(hub: Hub, tmp_path: Path) -> None:
    """Before there is a plan, too."""
    hold = Fault("/api/*", hold=-1)
    hub.faults.append(hold)
    with worker(hub, tmp_path, "--download-stall-s", "60") as it:
        it.send({**DOWNLOAD, "destination": str(tmp_path / "to")})
        line = it.read_until("get", "progress")
        assert (line["progress"], line["total_bytes"]) == (0, 0)
        assert line["stalled_s"] >= 1
        hold.release()
        assert it.ending("get")["success"] is True


def test_a_trickle_is_a_stall(hub: Hub, tmp_path: Path) -> None:
    """A few bytes at a time would take years."""
    hub.faults.append(Fault("*00001*", times=None, bytes_per_s=20))
    with worker(hub, tmp_path) as it:
        assert it.ask({**DOWNLOAD, "destination": str(tmp_path / "to")})["code"] == "no_connection"


def test_offline_is_offline(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's own variable is obeyed, and named."""
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(NoConnection, match="HF_HUB_OFFLINE"):
        carry_out(DownloadRequest(repo_id=REPO, destination=str(tmp_path / "to")), lambda _: None)
    assert hub.requests == []


@pytest.mark.parametrize("manifest", [b"[" * 100_000, b"\xff", b"{}", b'{"repo_id": 1}'])
def test_a_manifest_that_is_none_spoils_no_list(hub: Hub, tmp_path: Path, manifest: bytes) -> None:
    """Others' models are listed all the same."""
    with worker(hub, tmp_path) as it:
        it.demand({**DOWNLOAD, "destination": str(tmp_path / "to")})
        (tmp_path / "to" / ".mlx-sidecar.json").write_bytes(manifest)
        assert len(it.demand({"command": "list-models", "folder": str(tmp_path)})["models"]) == 1


def test_a_process_that_cannot_be_started_is_told_and_leaves_nothing() -> None:
    """The same request may come again."""
    said: list[tuple[int, bytes]] = []
    made = Downloads(lambda number, line: said.append((number, line)), {}, 1.0, ("/nowhere/python",))
    for _ in range(2):
        download = made.start(DownloadRequest(repo_id=REPO))
        assert b'"failed"' in said.pop()[1]
        made.stop(download)
    assert made.all == []


CHILDREN = {
    "closes its stdout and lives on": "import os, time; os.close(1); time.sleep(600)",
    "never ends its line": "while True: print('x' * 65536, end='', flush=True)",
    "says what is no message": "print('{}', flush=True); import time; time.sleep(600)",
    "dies": "import os; os.abort()",
}


@pytest.mark.parametrize("kind", CHILDREN)
def test_a_child_that_goes_wrong_ends_its_download(kind: str) -> None:
    """With an error, and it is gone itself."""
    said: SimpleQueue[bytes] = SimpleQueue()
    made = Downloads(lambda _, line: said.put(line), {}, 1.0, (sys.executable, "-c", CHILDREN[kind]))
    download = made.start(DownloadRequest(repo_id=REPO))
    download.take(said.get(timeout=60))
    assert isinstance(download.next_message(), Failed)
    made.stop(download)
    assert download.process is not None
    download.process.wait(60)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_line_that_cannot_be_taken_ends_its_download() -> None:
    """There may be no memory for it; the end is told all the same."""
    said: SimpleQueue[bytes] = SimpleQueue()

    def take(_: int, line: bytes) -> None:
        if line:
            raise MemoryError
        said.put(line)

    made = Downloads(take, {}, 1.0, (sys.executable, "-c", "print(1, flush=True); import time; time.sleep(600)"))
    download = made.start(DownloadRequest(repo_id=REPO))
    assert said.get(timeout=60) == b""
    made.stop(download)
    for thread in threading.enumerate():
        if thread.name.endswith("(_listen)"):
            thread.join(60)


def test_a_timeout_beyond_all_clocks_is_none(hub: Hub, tmp_path: Path) -> None:
    """The worker waits for the download with nothing else to do."""
    hold = Fault("*00001*", hold=1000)
    hub.faults.append(hold)
    with worker(hub, tmp_path, "--download-stall-s", "60") as it:
        it.send({**DOWNLOAD, "destination": str(tmp_path / "to"), "timeout_s": 1e300})
        assert hold.reached.wait(60)
        it.demand({"command": "status", "id": "status"})
        hold.release()
        assert it.ending("get")["success"] is True
