"""protocol.md §18: download-model, from an emulated hub on loopback."""

from __future__ import annotations

import os
import select
import shlex
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.downloads import BIG, DOWNLOAD, REPO, WANTED, assert_whole, content, gets, worker
from tests.support.hub import BEFORE_HEAD, RATE_LIMITED, BigFile, Fault, Hub
from tests.support.models import Shelf
from tests.support.worker import REPOSITORY, Line, Worker, command_line, environment


def test_a_model_comes_into_a_folder(hub: Hub, tmp_path: Path) -> None:
    """All files that MLX loads, verified; no code, no pickles."""
    with worker(hub, tmp_path) as it:
        line = it.demand({**DOWNLOAD, "destination": str(tmp_path / "to")})
    total = sum(hub.repos[REPO].entries[name].size for name in WANTED)
    assert line == {
        "type": "response",
        "command": "download-model",
        "id": "get",
        "success": True,
        "destination": str(tmp_path / "to"),
        "repo_id": REPO,
        "revision": hub.repos[REPO].commit,
        "files": 4,
        "total_bytes": total,
        "resumed_bytes": 0,
        "verified": True,
    }
    assert_whole(hub, tmp_path / "to")
    assert not (tmp_path / "to" / ".partial").exists()


def test_progress_adds_up(hub: Hub, tmp_path: Path) -> None:
    """It never goes back, ends at 100, and says all that it should."""
    hub.faults.append(Fault("*.safetensors", bytes_per_s=3_000_000, times=None))
    with worker(hub, tmp_path) as it:
        response = it.demand({**DOWNLOAD, "destination": str(tmp_path / "to")})
        lines = it.progress("get")
    shown = [(line["progress"], line["downloaded_bytes"], line["files_done"]) for line in lines]
    assert len(lines) > 3
    assert shown == sorted(shown)
    assert shown[-1] == (100, response["total_bytes"], 4)
    for line in lines:
        assert line["downloaded_mb"] == round(line["downloaded_bytes"] / 1e6, 2)
        assert line["total_mb"] == round(response["total_bytes"] / 1e6, 2)
        assert line["files_total"] == 4
    assert any(line["bytes_per_s"] > 0 and line["eta_s"] is not None and line["file"] for line in lines)


def test_a_rerun_is_one_request(hub: Hub, tmp_path: Path) -> None:
    """The manifest tells what is there."""
    with worker(hub, tmp_path) as it:
        it.demand({**DOWNLOAD, "destination": str(tmp_path / "to")})
        hub.requests.clear()
        line = it.demand({**DOWNLOAD, "destination": str(tmp_path / "to")})
    assert len(hub.requests) == 1
    assert line["resumed_bytes"] == line["total_bytes"]


def test_a_file_that_was_damaged_or_lost_is_fetched_again(hub: Hub, tmp_path: Path) -> None:
    """And only that one."""
    folder = tmp_path / "to"
    with worker(hub, tmp_path) as it:
        it.demand({**DOWNLOAD, "destination": str(folder)})
        (folder / "tokenizer.json").unlink()
        (folder / "config.json").write_bytes(b"!" * len(content(hub, "config.json")))
        hub.requests.clear()
        line = it.demand({**DOWNLOAD, "destination": str(folder)})
    assert_whole(hub, folder)
    assert line["resumed_bytes"] == BIG + BIG // 2
    assert not gets(hub)


def test_the_hugging_face_cache_is_laid_out_as_the_library_does(shelf: Shelf, hub: Hub, tmp_path: Path) -> None:
    """The library finds it, a worker loads it by its name without the network, and list-models knows it is complete."""
    from huggingface_hub import scan_cache_dir

    model = shelf.family("llama")
    repo = hub.add("owner/real", {path.name: path.read_bytes() for path in model.iterdir()})
    with worker(hub, tmp_path) as it:
        line = it.demand({**DOWNLOAD, "repo_id": "owner/real"})
        hub.close()
        it.demand({"command": "load-model", "repo_id": "owner/real"})
        assert it.demand({"command": "generate", "prompt": "x", "max_tokens": 2})["usage"]["output_tokens"] == 2
        (listed,) = it.demand({"command": "list-models"})["models"]
    cache = tmp_path / "home" / "hub"
    assert line["destination"] == str(cache / "models--owner--real" / "snapshots" / repo.commit)
    assert (listed["repo_id"], listed["revision"], listed["complete"]) == ("owner/real", repo.commit, True)
    scanned = scan_cache_dir(cache)
    assert not scanned.warnings
    (found,) = scanned.repos
    assert found.refs["main"].commit_hash == repo.commit
    assert {file.file_name for file in found.refs["main"].files} == {path.name for path in model.iterdir()}
    assert all(path.is_symlink() for path in Path(line["destination"]).iterdir())


def test_generation_goes_on_meanwhile(hub: Hub, tmp_path: Path) -> None:
    """The download waits for the hub, nobody waits for the download."""
    hold = Fault("*00001*", hold=1000)
    hub.faults.append(hold)
    with worker(hub, tmp_path, "--download-stall-s", "60", "--model", "demo") as it:
        it.send({**DOWNLOAD, "destination": str(tmp_path / "to")})
        assert hold.reached.wait(60)
        it.demand({"command": "generate", "prompt": "x", "max_tokens": 3, "id": "text"})
        (running,) = it.demand({"command": "status", "id": "status"})["downloads"]
        assert (running["repo_id"], running["state"]) == (REPO, "running")
        hold.release()
        it.ending("get")
    assert_whole(hub, tmp_path / "to")


def test_a_model_loads_beside_a_download(hub: Hub, tmp_path: Path) -> None:
    """With ids a download holds up nothing: models are loaded, used and unloaded while the hub says nothing."""
    hold = Fault("*00001*", hold=1000)
    hub.faults.append(hold)
    load = {"command": "load-model", "model_path": "demo", "timeout_s": 60}
    with worker(hub, tmp_path, "--download-stall-s", "600") as it:
        it.send({**DOWNLOAD, "destination": str(tmp_path / "to")})
        assert hold.reached.wait(60)
        it.demand({**load, "id": "load"})
        it.demand({"command": "generate", "prompt": "x", "max_tokens": 2, "id": "text"})
        it.demand({"command": "unload-model", "id": "unload"})
        it.demand(load)
        it.demand({"command": "unload-model"})
        (running,) = it.demand({"command": "status", "id": "status"})["downloads"]
        assert (running["repo_id"], running["state"]) == (REPO, "running")
        hold.release()
        it.ending("get")
    assert_whole(hub, tmp_path / "to")


def test_a_script_loads_what_it_has_downloaded(shelf: Shelf, hub: Hub, tmp_path: Path) -> None:
    """Without ids a load waits for the download before it, however long that takes; one with an id doesn't."""
    model = shelf.family("llama")
    hub.add("owner/real", {path.name: path.read_bytes() for path in model.iterdir()})
    hold = Fault("*.safetensors", hold=10)
    hub.faults.append(hold)
    with worker(hub, tmp_path, "--download-stall-s", "600") as it:
        repo = {"repo_id": "owner/real"}
        it.send({"command": "download-model", **repo}, {"command": "load-model", **repo})
        assert hold.reached.wait(60)
        status = it.demand({"command": "status", "id": "status"})
        assert [(each["command"], each["state"]) for each in status["requests"]] == [
            ("download-model", "running"),
            ("load-model", "queued"),
        ]
        hold.release()
        assert it.ending()["command"] == "download-model"
        assert it.ending()["success"] is True


# Going on


def stopped_in_the_middle(hub: Hub, it: Worker, folder: Path) -> Fault:
    """Start a download and let 1 MB of its largest file come; gives what holds the rest up."""
    hold = Fault("*00001*", hold=1_000_000)
    hub.faults.append(hold)
    it.send({**DOWNLOAD, "destination": str(folder)})
    assert hold.reached.wait(60)
    while it.read_until("get", "progress")["downloaded_bytes"] < 1_000_000:
        pass
    return hold


def test_a_cancelled_download_goes_on_where_it_was(hub: Hub, tmp_path: Path) -> None:
    """Also on a socket on which nothing comes; at most 256 KiB come again."""
    folder = tmp_path / "to"
    with worker(hub, tmp_path, "--download-stall-s", "60") as it:
        stopped_in_the_middle(hub, it, folder)
        assert it.demand({"command": "cancel", "target": "get", "id": "stop"})["cancelled"] == 1
        assert it.ending("get")["code"] == "cancelled"
        assert not (folder / "config.json").exists()
        hub.requests.clear()
        line = it.demand({**DOWNLOAD, "destination": str(folder)})
    (resumed,) = [request for request in gets(hub, "*00001*") if request.origin == "storage"]
    start = int(resumed.headers["range"].removeprefix("bytes=").removesuffix("-"))
    assert 1_000_000 - 256 * 1024 <= start <= 1_000_000
    assert line["resumed_bytes"] >= start
    assert_whole(hub, folder)


def test_a_killed_worker_leaves_no_child_and_the_next_goes_on(hub: Hub, tmp_path: Path) -> None:
    """SIGKILL: the child knows by the end of its stdin."""
    folder = tmp_path / "to"
    it = worker(hub, tmp_path, "--download-stall-s", "60")
    stopped_in_the_middle(hub, it, folder)
    (child,) = children_of(it.process.pid)
    descriptor = os.pidfd_open(child)
    it.signal(signal.SIGKILL)
    assert select.select([descriptor], [], [], 5)[0], "the child lives on"
    os.close(descriptor)
    it.kill()
    hub.requests.clear()
    with worker(hub, tmp_path) as following:
        following.demand({**DOWNLOAD, "destination": str(folder)})
    assert any("range" in request.headers for request in gets(hub, "*00001*"))
    assert_whole(hub, folder)


def test_an_interrupted_child_goes_on(hub: Hub, tmp_path: Path) -> None:
    """SIGINT is the worker's to obey: a child alone takes no notice, and its download is whole."""
    folder = tmp_path / "to"
    with worker(hub, tmp_path, "--download-stall-s", "60") as it:
        fault = stopped_in_the_middle(hub, it, folder)
        (child,) = children_of(it.process.pid)
        os.kill(child, signal.SIGINT)
        fault.release()
        assert it.ending("get")["success"]
    assert_whole(hub, folder)


def test_a_terminated_child_ends_its_download_with_an_error(hub: Hub, tmp_path: Path) -> None:
    """The request is told, and the worker answers the next."""
    with worker(hub, tmp_path, "--download-stall-s", "60") as it:
        stopped_in_the_middle(hub, it, tmp_path / "to")
        (child,) = children_of(it.process.pid)
        os.kill(child, signal.SIGTERM)
        line = it.ending("get")
        assert (line["code"], line["retryable"]) == ("hub_error", True)
        assert it.demand({"command": "status"})["downloads"] == []


def children_of(pid: int) -> list[int]:
    """The processes that a process has started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.parametrize(
    "fault",
    [
        Fault("*00001*", cut=500_000),
        Fault("*00001*", cut=500_000, reset=True),
        Fault("*00001*", hold=500_000),
        Fault("*00001*", wrong=700_000),
        Fault("*00001*", no_length=True),
        Fault("*00001*", status=503),
        Fault("*00001*", status=429, headers={"Retry-After": "0"}),
        Fault("*00001*", origin="storage", status=500),
        Fault("*00001*", status=408),
        Fault("/api/*", status=503),
        Fault("/api/*", status=429, headers={"Retry-After": "0"}),
        Fault("/api/*", status=429, headers={"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}),
        Fault("/api/*", status=429, headers=RATE_LIMITED),
        Fault("/api/*", cut=20),
        Fault("/api/*", status=307, headers={"Location": "/api/models/owner/tiny?blobs=true"}),
        Fault("*tokenizer.json", cut=100),
    ],
    ids=lambda fault: f"{fault.path} {fault.cut or fault.hold or fault.wrong or fault.status} {fault.origin}",
)
def test_what_goes_wrong_once_is_tried_again(hub: Hub, tmp_path: Path, fault: Fault) -> None:
    """Whatever it is, the files are right in the end, and nobody notices."""
    hub.faults.append(fault.anew())
    with worker(hub, tmp_path) as it:
        it.demand({**DOWNLOAD, "destination": str(tmp_path / "to")})
    assert_whole(hub, tmp_path / "to")


def test_a_hub_that_knows_no_ranges_begins_anew(hub: Hub, tmp_path: Path) -> None:
    """A whole answer to a request for the rest isn't appended."""
    hub.faults += [Fault("*00001*", cut=500_000), Fault("*00001*", ignore_range=True)]
    with worker(hub, tmp_path) as it:
        it.demand({**DOWNLOAD, "destination": str(tmp_path / "to")})
    assert_whole(hub, tmp_path / "to")


def test_a_stall_is_reported_while_it_lasts(hub: Hub, tmp_path: Path) -> None:
    """And isn't taken for progress; when something comes again, it is over."""
    hold = Fault("*00001*", hold=1_000_000)
    hub.faults.append(hold)
    with worker(hub, tmp_path, "--download-stall-s", "60") as it:
        it.send({**DOWNLOAD, "destination": str(tmp_path / "to")})
        while "stalled_s" not in (line := it.read_until("get", "progress")):
            pass
        assert line["stalled_s"] >= 1
        hold.release()
        assert it.ending("get")["success"] is True
        assert "stalled_s" not in it.progress("get")[-1]
    assert_whole(hub, tmp_path / "to")


def test_what_a_power_loss_left_is_found_out(hub: Hub, tmp_path: Path) -> None:
    """Parts that end in zeros, that are longer than the file, and one that is a link."""
    partial, repo = tmp_path / "to" / ".partial", hub.repos[REPO]
    partial.mkdir(parents=True)
    (partial / f"{repo.digest(WANTED[1])}.part").write_bytes(content(hub, WANTED[1])[:1_000_000] + bytes(500_000))
    (partial / f"{repo.digest(WANTED[2])}.part").write_bytes(content(hub, WANTED[2]) + b"!")
    (tmp_path / "mine").write_bytes(b"mine")
    (partial / f"{repo.digest(WANTED[3])}.part").symlink_to(tmp_path / "mine")
    with worker(hub, tmp_path) as it:
        line = it.demand({**DOWNLOAD, "destination": str(tmp_path / "to")})
    assert_whole(hub, tmp_path / "to")
    assert line["resumed_bytes"] == 0
    assert (tmp_path / "mine").read_bytes() == b"mine"


def test_another_revision_leaves_nothing_of_the_one_before(hub: Hub, tmp_path: Path) -> None:
    """Its weights would be loaded together with the new ones; what the user put there stays."""
    hub.repos[REPO].add_commit({WANTED[1]: None, "model.safetensors": BigFile(1000, seed=3)}, "small")
    folder = tmp_path / "to"
    with worker(hub, tmp_path) as it:
        it.demand({**DOWNLOAD, "destination": str(folder)})
        (folder / "notes.md").write_text("mine")
        it.demand({**DOWNLOAD, "destination": str(folder), "revision": "small"})
        hub.requests.clear()
        it.demand({**DOWNLOAD, "destination": str(folder), "revision": "small"})
    assert len(hub.requests) == 1
    assert {path.name for path in folder.glob("*.safetensors")} == {"model.safetensors", WANTED[2]}
    assert (folder / "notes.md").read_text() == "mine"


def test_some_files_after_all_of_them_change_nothing(hub: Hub, tmp_path: Path) -> None:
    """The manifest still names the others, so that all of them are one request."""
    with worker(hub, tmp_path) as it:
        it.demand({**DOWNLOAD, "destination": str(tmp_path / "to")})
        line = it.demand({**DOWNLOAD, "destination": str(tmp_path / "to"), "allow_patterns": ["*.json", "*.md"]})
        assert line["files"] == 3
        hub.requests.clear()
        it.demand({**DOWNLOAD, "destination": str(tmp_path / "to")})
    assert len(hub.requests) == 1
    (tmp_path / "to" / "README.md").unlink()
    assert_whole(hub, tmp_path / "to")


def test_one_of_two_files_alike_is_put_back(hub: Hub, tmp_path: Path) -> None:
    """Though the other is there and nothing has to be fetched for it."""
    hub.add("owner/twins", {"config.json": b"{}", "a.json": b"{ }", "b.json": b"{ }"})
    folder = tmp_path / "to"
    with worker(hub, tmp_path) as it:
        for lost in ("a.json", "b.json", "config.json"):
            it.demand({**DOWNLOAD, "repo_id": "owner/twins", "destination": str(folder)})
            (folder / lost).unlink()
        it.demand({**DOWNLOAD, "repo_id": "owner/twins", "destination": str(folder)})
    assert [(folder / name).read_bytes() for name in ("a.json", "b.json", "config.json")] == [b"{ }", b"{ }", b"{}"]


# Endings


@pytest.mark.parametrize(
    ("faults", "changes", "code"),
    [
        ([], {"repo_id": "owner/nowhere"}, "repo_not_found"),
        ([], {"revision": "nowhere"}, "revision_not_found"),
        ([], {"repo_id": "owner/gated"}, "gated"),
        ([], {"repo_id": "owner/private"}, "repo_not_found"),
        ([], {"repo_id": "not a name"}, "invalid_params"),
        ([], {"allow_patterns": ["*.py"]}, "invalid_params"),
        ([], {"destination": "/dev/null/x"}, "destination_invalid"),
        ([], {"destination": "/proc/x"}, "destination_invalid"),
        ([], {"repo_id": "owner/huge"}, "disk_full"),
        ([Fault("/api/*", times=None, status=400)], {}, "hub_error"),
        ([Fault("/api/*", times=None, status=200, body=b"<html>")], {}, "hub_error"),
        ([Fault("*00001*", times=None, status=404)], {}, "hub_error"),
        ([Fault("*00001*", times=None, wrong=700_000)], {}, "checksum_mismatch"),
        ([Fault("*00001*", times=None, status=429, headers={"Retry-After": "0"})], {}, "rate_limited"),
        ([Fault("*00001*", times=None, hold=BEFORE_HEAD)], {}, "no_connection"),
        ([Fault("/api/*", times=None, status=429, headers={"Retry-After": "0"})], {}, "rate_limited"),
        ([Fault("/api/*", status=429, headers={"Retry-After": "3600"})], {}, "rate_limited"),
        ([Fault("/api/*", times=None, hold=BEFORE_HEAD)], {}, "no_connection"),
        ([Fault("/api/*", times=None, status=307, headers={"Location": "/api/models/owner/tiny"})], {}, "hub_error"),
        ([Fault("/api/*", times=None, status=302, headers={"Location": "ftp://127.0.0.1/x"})], {}, "hub_error"),
        ([Fault("*00001*", times=None, bytes_per_s=1e6, cut=1000)], {}, "no_connection"),
    ],
    ids=lambda each: each if isinstance(each, str) else None,
)
def test_every_failure_says_what_to_do(
    hub: Hub, tmp_path: Path, faults: list[Fault], changes: dict[str, Any], code: str
) -> None:
    """By its code, in one sentence; and what is there isn't taken for a model."""
    hub.add("owner/gated", {"config.json": b"{}"}).gated = "auto"
    hub.add("owner/private", {"config.json": b"{}"}).private = True
    hub.add("owner/huge", {"model.safetensors": BigFile(10**15, claimed="0" * 64)})
    hub.faults += [fault.anew() for fault in faults]
    with worker(hub, tmp_path) as it:
        line = it.ask({**DOWNLOAD, "destination": str(tmp_path / "to"), **changes})
        assert line.get("code") == code, line
        assert it.demand({"command": "list-models", "folder": str(tmp_path)})["models"] == []
        assert it.demand({"command": "status"})["downloads"] == []


def test_a_token_that_the_hub_does_not_know_is_a_bad_token(hub: Hub, tmp_path: Path) -> None:
    """Not a repository that isn't there."""
    with worker(hub, tmp_path, HF_TOKEN="hf_wrong") as it:
        assert it.ask(DOWNLOAD)["code"] == "bad_token"


def test_no_hub_is_no_connection(hub: Hub, tmp_path: Path) -> None:
    """Nobody listens there."""
    hub.close()
    with worker(hub, tmp_path) as it:
        assert it.ask(DOWNLOAD)["code"] == "no_connection"


def test_the_token_goes_to_the_hub_and_nowhere_else(hub: Hub, tmp_path: Path) -> None:
    """Not to where large files lie, and into no line and no log."""
    token = "hf_secret_of_mine"
    hub.tokens.add(token)
    with worker(hub, tmp_path, "--log-level", "debug", HF_TOKEN=token) as it:
        it.demand({**DOWNLOAD, "destination": str(tmp_path / "to")})
        written = it.finish()
    assert {request.origin for request in hub.requests if "authorization" in request.headers} == {"hub"}
    assert {request.origin for request in hub.requests} == {"hub", "storage"}
    assert token not in written.stderr
    assert token not in str(written.lines)


@pytest.mark.parametrize(
    "name", ["../x.json", "/x.json", "a\\b.json", "C:x.json", "a/../b.json", "x\0.json", ".partial/x.json"]
)
def test_a_dangerous_name_is_refused(hub: Hub, tmp_path: Path, name: str) -> None:
    """Nothing is fetched from such a repository."""
    hub.add("owner/evil", {"config.json": b"{}", name: b"{}"})
    with worker(hub, tmp_path) as it:
        line = it.ask({**DOWNLOAD, "repo_id": "owner/evil", "destination": str(tmp_path / "to")})
    assert line["code"] == "hub_error"
    assert len(hub.requests) == 1
    assert list(tmp_path.rglob("*.json")) == []


@pytest.mark.parametrize("digest", ["../../x", "0" * 39, "z" * 64, ""])
def test_a_digest_that_is_none_is_refused(hub: Hub, tmp_path: Path, digest: str) -> None:
    """It would become a file's name."""
    hub.add("owner/evil", {"model.safetensors": BigFile(head=b"x", claimed=digest)})
    with worker(hub, tmp_path) as it:
        assert it.ask({**DOWNLOAD, "repo_id": "owner/evil"})["code"] == "hub_error"


def test_a_link_in_the_destination_is_not_followed(hub: Hub, tmp_path: Path) -> None:
    """It could lead anywhere."""
    (tmp_path / "to").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "to" / "sub").symlink_to(tmp_path / "elsewhere")
    hub.add("owner/deep", {"config.json": b"{}", "sub/x.json": b"{}"})
    with worker(hub, tmp_path) as it:
        line = it.ask({**DOWNLOAD, "repo_id": "owner/deep", "destination": str(tmp_path / "to")})
    assert line["code"] == "destination_invalid"
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_the_same_twice_is_busy_and_a_third_waits(hub: Hub, tmp_path: Path) -> None:
    """Two run at once; the third begins when one is through."""
    hold = Fault("*00001*", hold=1000, times=2)
    hub.faults.append(hold)

    def into(name: str) -> dict[str, Any]:
        return {**DOWNLOAD, "destination": str(tmp_path / name), "id": name}

    with worker(hub, tmp_path, "--download-stall-s", "60") as it:
        it.send(into("a"), into("b"), into("c"), {**into("a"), "id": "again"})
        assert it.ending("again")["code"] == "download_busy"
        assert hold.reached.wait(60)
        states = [each["state"] for each in it.demand({"command": "status", "id": 1})["downloads"]]
        assert states == ["running", "running", "queued"]
        hold.release()
        lines: list[Line] = [it.ending(name) for name in ("a", "b", "c")]
    assert [line["type"] for line in lines] == ["response"] * 3


def test_end_of_input_finishes_the_download(hub: Hub, tmp_path: Path) -> None:
    """As any other request that was accepted."""
    with worker(hub, tmp_path) as it:
        it.send({**DOWNLOAD, "destination": str(tmp_path / "to")})
        ended = it.finish()
    assert ended.endings[-1]["success"] is True


def test_list_models_knows_what_is_missing(shelf: Shelf, hub: Hub, tmp_path: Path) -> None:
    """A file that the manifest names and that is gone, or shorter, though the model would load without it."""
    files = {path.name: path.read_bytes() for path in shelf.family("llama").iterdir()}
    hub.add("owner/real", {**files, "extra.txt": b"text"})
    folder = tmp_path / "to"
    with worker(hub, tmp_path) as it:
        it.demand({**DOWNLOAD, "repo_id": "owner/real", "destination": str(folder)})
        listing = {"command": "list-models", "folder": str(folder)}
        assert [each["complete"] for each in it.demand(listing)["models"]] == [True]
        (folder / "extra.txt").write_bytes(b"t")
        assert [each["complete"] for each in it.demand(listing)["models"]] == [False]


def from_the_shell(hub: Hub, tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`mlx-sidecar download` with these arguments."""
    env = environment(HF_ENDPOINT=hub.url, HF_HUB_OFFLINE="0", HF_HOME=str(tmp_path / "home"))
    command = [*command_line(["download"]), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=env, cwd=REPOSITORY, check=False)


def test_people_download_too(hub: Hub, tmp_path: Path) -> None:
    """Where it is comes on stdout, the bar on stderr."""
    done = from_the_shell(hub, tmp_path, REPO, "--to", str(tmp_path / "to"))
    assert (done.returncode, done.stdout) == (0, f"{tmp_path / 'to'}\n")
    assert_whole(hub, tmp_path / "to")


@pytest.mark.parametrize(("where", "code"), [(">&-", 0), (">/dev/full", 1), ("2>&-", 0)])
def test_a_download_arrives_whoever_hears_of_it(hub: Hub, tmp_path: Path, where: str, code: int) -> None:
    """Without a traceback."""
    env = environment(HF_ENDPOINT=hub.url, HF_HUB_OFFLINE="0", HF_HOME=str(tmp_path / "home"))
    command = [*command_line(["download"]), REPO, "--to", str(tmp_path / "to")]
    line = f"exec {shlex.join(command)} {where}"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=60, env=env, cwd=REPOSITORY)
    assert (done.returncode, done.stderr.count("\n")) == (code, code)
    assert_whole(hub, tmp_path / "to")


@pytest.mark.parametrize(
    "arguments", [["owner/tiny", "--to", ""], ["owner/tiny", "--to", "~no-such-user/x"], [], ["a", "b"]]
)
def test_a_command_line_that_is_wrong_is_one_line(hub: Hub, tmp_path: Path, arguments: list[str]) -> None:
    """And exit code 2; nothing is fetched to somewhere else."""
    failed = from_the_shell(hub, tmp_path, *arguments)
    assert (failed.returncode, failed.stdout, failed.stderr.count("\n")) == (2, "", 1)
    assert hub.requests == []


def test_people_are_told_what_to_do(hub: Hub, tmp_path: Path) -> None:
    """Exit code 1 and the same sentence as on the wire."""
    failed = from_the_shell(hub, tmp_path, "owner/nowhere")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "mlx-sidecar: 'owner/nowhere': the hub has no such repository" in failed.stderr


def wait_for_bytes(part: Path) -> None:
    """Until something of the held file is on the disk: a bar tells a test nothing."""
    deadline = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size):
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)


def test_ctrl_c_keeps_what_came(hub: Hub, tmp_path: Path) -> None:
    """Exit code 130, and the same command goes on."""
    hold = Fault("*00001*", hold=1_000_000)
    hub.faults.append(hold)
    env = environment(HF_ENDPOINT=hub.url, HF_HUB_OFFLINE="0", HF_HOME=str(tmp_path / "home"))
    command = [*command_line(["download"]), REPO, "--to", str(tmp_path / "to")]
    # A group of its own, as a shell makes it: Ctrl-C goes to all of its processes.
    running = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env=env, cwd=REPOSITORY, start_new_session=True
    )
    assert hold.reached.wait(60)
    held = next(name for name in hub.repos[REPO].entries if "00001" in name)
    wait_for_bytes(tmp_path / "to" / ".partial" / f"{hub.repos[REPO].digest(held)}.part")
    os.killpg(running.pid, signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "goes on from there" in said
    assert "Traceback" not in said
    assert from_the_shell(hub, tmp_path, REPO, "--to", str(tmp_path / "to")).returncode == 0
    assert any("range" in request.headers for request in gets(hub, "*00001*"))
    assert_whole(hub, tmp_path / "to")


def quantized(hub: Hub) -> None:
    """A repository that holds a model three times as GGUF, once of them in two parts."""
    parts = {f"big-{number:05}-of-00002.gguf": BigFile(400_000, seed=number) for number in (1, 2)}
    repo = hub.add("owner/quantized", {"config.json": b"{}", "a-Q4_K_M.gguf": BigFile(BIG, seed=3), **parts})
    repo.add_commit({"a-Q8_0.gguf": BigFile(BIG * 2, seed=4), "README.md": b"read me"})
    repo.lfs = (".gguf",)


@pytest.mark.parametrize("destination", ["to", None])
def test_a_gguf_file_is_fetched_by_its_name_and_no_other(hub: Hub, tmp_path: Path, destination: str | None) -> None:
    """Without a name nothing is; a split model comes with its parts, beside the first; what broke off goes on."""
    quantized(hub)
    hub.faults.append(Fault("a-Q4_K_M.gguf", cut=1_000_000))
    to = {} if destination is None else {"destination": str(tmp_path / destination)}
    ask = {**DOWNLOAD, **to, "repo_id": "owner/quantized"}
    with worker(hub, tmp_path) as it:
        refused = it.ask(ask)
        assert refused["code"] == "invalid_params"
        assert [each["gguf_file"] for each in refused["data"]["gguf_files"]] == [
            "big-00001-of-00002.gguf",
            "a-Q4_K_M.gguf",
            "a-Q8_0.gguf",
        ]
        assert not gets(hub, "*.gguf")
        one = it.demand({**ask, "gguf_file": "a-Q4_K_M.gguf"})
        assert (one["files"], one["total_bytes"], one["verified"]) == (2, BIG + 2, True)
        assert it.progress("get")[-1]["progress"] == 100
        assert it.demand({**ask, "gguf_file": "big-00001-of-00002.gguf"})["files"] == 3
        hub.requests.clear()
        it.demand({**ask, "gguf_file": "a-Q4_K_M.gguf"})
    folder = Path(one["destination"])
    assert {path.name for path in folder.iterdir()} - {".mlx-sidecar.json"} == {
        "a-Q4_K_M.gguf",
        "big-00001-of-00002.gguf",
        "big-00002-of-00002.gguf",
        "config.json",
    }
    assert len(hub.requests) == 1
