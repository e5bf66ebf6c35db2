"""Whatever lies in a folder of documents: each surprise is that document's own, and the others are asked about."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlx_sidecar.client import AsyncClient, SidecarError, calls
from mlx_sidecar.client.failures import ClientError
from mlx_sidecar.client.prepared_request import PreparedRequest
from mlx_sidecar.errors import MessageTooLarge
from mlx_sidecar.library.document import read_file, read_stream
from mlx_sidecar.library.folder import Folder
from mlx_sidecar.library.item import MOST_BYTES, Item
from mlx_sidecar.library.job import Job, Tally
from mlx_sidecar.library.requests import Requests, RequestsInvalid
from mlx_sidecar.library.results import Results, Subject
from tests.support.clients import ODD_WORKER


def outcomes(root: Path, ask: Any = calls.tags) -> dict[str | None, str]:
    """What becomes of each document: the code of its failure, or that it is asked about."""
    folder, results = Folder(root, [".txt"], "generate-tags", ask, root / "results"), Results(root / "results", "job")
    items = list(folder.items(folder.to_do(results)))
    results.close()
    return {item.subject.path: _outcome(item) for item in items}


def _outcome(item: Item) -> str:
    return item.ask.code if isinstance(item.ask, SidecarError | ClientError) else "asked"


@pytest.fixture
def nested(tmp_path: Path) -> Iterator[Path]:
    """A thousand folders in each other, with a document in the last one."""
    deepest = tmp_path
    for _ in range(1000):
        deepest = deepest / "d"
        deepest.mkdir()
    (deepest / "deep.txt").write_text("x")
    yield tmp_path
    # pytest's own way to remove them is by recursion.
    (deepest / "deep.txt").unlink()
    while deepest != tmp_path:
        deepest.rmdir()
        deepest = deepest.parent


def test_folders_may_be_nested_as_deep_as_a_path_is_long(nested: Path) -> None:
    """Deeper than Python's functions may call each other."""
    (nested / "a.txt").write_text("x")
    assert outcomes(nested) == {"a.txt": "asked", "/".join("d" * 1000) + "/deep.txt": "asked"}


def test_a_folder_with_a_path_that_is_too_long_is_a_failure_of_its_own(tmp_path: Path) -> None:
    """It can be made step by step, and not be named."""
    names = ["d" * 250] * 20
    descriptor = os.open(tmp_path, os.O_RDONLY)
    for name in names:
        os.mkdir(name, dir_fd=descriptor)
        inner = os.open(name, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = inner
    os.close(descriptor)
    (tmp_path / "a.txt").write_text("x")
    found = outcomes(tmp_path)
    assert found.pop("a.txt") == "asked"
    assert list(found.values()) == ["unreadable"]


def test_what_is_no_plain_file_is_recorded_as_what_it_is(tmp_path: Path) -> None:
    """None of them is waited for, and a link to a folder leads nowhere twice."""
    (tmp_path / "a.txt").write_text("x")
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "device.txt").symlink_to("/dev/zero")
    (tmp_path / "terminal.txt").symlink_to("/dev/tty")
    (tmp_path / "loop.txt").symlink_to("loop.txt")
    (tmp_path / "nowhere.txt").symlink_to("gone")
    (tmp_path / "around").symlink_to(".")
    (tmp_path / os.fsdecode(b"name-\xff.txt")).write_text("x")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket.txt"))
        found = outcomes(tmp_path)
    asked = {path for path, outcome in found.items() if outcome == "asked"}
    assert asked == {"a.txt", r"name-\xff.txt"}
    assert {found[path] for path in found if path not in asked} == {"unreadable"}
    assert len(found) == 8


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
@pytest.mark.parametrize("file", ["/proc/self/mem", "/proc/self/clear_refs"])
def test_a_read_that_fails_is_recorded(tmp_path: Path, file: str) -> None:
    """These are plain files by their looks."""
    (tmp_path / "a.txt").symlink_to(file)
    assert outcomes(tmp_path) == {"a.txt": "unreadable"}


def test_a_read_that_gives_nothing_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some file systems have files without an end that they only know when somebody writes."""
    (tmp_path / "a.txt").write_text("x")

    def nothing(_: int, __: int) -> bytes:
        raise BlockingIOError

    monkeypatch.setattr(os, "read", nothing)
    assert outcomes(tmp_path) == {"a.txt": "unreadable"}


@pytest.mark.parametrize("problem", [RecursionError("deep"), MemoryError(), ValueError("odd"), UnicodeError("odd")])
def test_any_surprise_is_its_documents_own(tmp_path: Path, problem: Exception) -> None:
    """Whatever was overlooked."""
    (tmp_path / "a.txt").write_text("odd")
    (tmp_path / "b.txt").write_text("x")

    def ask(text: str) -> PreparedRequest[Any]:
        if text == "odd":
            raise problem
        return calls.tags(text)

    assert outcomes(tmp_path, ask) == {"a.txt": "unreadable", "b.txt": "asked"}


def test_a_document_that_vanishes_is_recorded(tmp_path: Path) -> None:
    """Between the list and its turn."""
    (tmp_path / "a.txt").write_text("x")
    folder = Folder(tmp_path, [".txt"], "generate-tags", calls.tags, tmp_path / "results")
    (item,) = folder.items([tmp_path / "a.txt", tmp_path / "gone.txt"][1:])
    assert _outcome(item) == "unreadable"


def test_a_surprise_while_one_is_asked_leaves_the_others_their_answers(tmp_path: Path) -> None:
    """It is recorded with what it was; what can't be written into the results still ends the job."""

    async def work(results: Results) -> Tally:
        tally = Tally()
        async with AsyncClient(command=[sys.executable, str(ODD_WORKER), "dies_of_poison"]) as client:
            broken: PreparedRequest[Any] = calls.tags("x")
            broken.request = None  # type: ignore[assignment]
            items = [Item(Subject(path=name), "d", "generate-tags", ask) for name, ask in named(broken).items()]
            await Job(client, results, lambda _: None, tally).run(iter(items))
        return tally

    def named(broken: PreparedRequest[Any]) -> dict[str, PreparedRequest[Any]]:
        return {"a.txt": calls.tags("a"), "b.txt": broken, "c.txt": calls.tags("c")}

    results = Results(tmp_path / "results", "job")
    assert asyncio.run(work(results)) == Tally(answered=2, failed=1)
    results.close()
    records = [json.loads(line) for line in (tmp_path / "results").read_text().splitlines()]
    assert [record["path"] for record in records if record.get("code") == "internal"] == ["b.txt"]


def test_a_huge_file_is_neither_read_nor_held(tmp_path: Path) -> None:
    """Named alone it is refused after the first 16 MiB, in a folder by its size, in a batch line by line."""
    huge = tmp_path / "huge.txt"
    with huge.open("wb") as stream:
        stream.truncate(100 * 2**30)
    with pytest.raises(MessageTooLarge):
        read_file(huge)
    with huge.open("rb", buffering=0) as stream, pytest.raises(MessageTooLarge):
        read_stream(stream.fileno())


def test_a_line_that_is_too_long_is_a_failure_of_its_own(tmp_path: Path) -> None:
    """The lines around it are asked, and the next run knows it again."""
    good = b'{"command":"generate","prompt":"x"}\n'
    (tmp_path / "requests").write_bytes(good + b"x" * (MOST_BYTES + 1) + b"\n" + good + b"y" * (2 * MOST_BYTES + 9))
    requests, results = Requests(tmp_path / "requests"), Results(tmp_path / "results", "job")
    wanted = requests.to_do(results)
    found = {item.subject.line: _outcome(item) for item in requests.items(wanted)}
    assert found == {1: "asked", 2: "message_too_large", 3: "asked", 4: "message_too_large"}
    assert requests.to_do(results) == wanted
    results.append(Subject(line=4), wanted[4], {"type": "error"})
    assert set(requests.to_do(results)) == {1, 2, 3}
    results.close()


def test_a_pipe_that_does_not_block_is_read_to_its_end() -> None:
    """Whoever made it may have set that on our end."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.write(writing, b"text")
    os.close(writing)
    assert read_stream(reading) == b"text"
    os.close(reading)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_a_file_of_requests_that_can_not_be_read_is_told_by_its_name(tmp_path: Path) -> None:
    """Whatever the system says of it, when it is opened and when it is read."""
    results = Results(tmp_path / "results", "job")
    for path in (Path("/proc/self/mem"), tmp_path / "gone"):
        with pytest.raises(RequestsInvalid, match=f"{path} can't be read: .*; see to it"):
            Requests(path).to_do(results)
    results.close()
