"""Library jobs: killed at any moment they go on, ask nothing twice, lose nothing, and never touch what isn't theirs."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import resource
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from mlx_sidecar.client import AsyncClient, calls
from mlx_sidecar.library.folder import Folder
from mlx_sidecar.library.job import RESTARTS, Job, Tally
from mlx_sidecar.library.requests import Requests, RequestsInvalid
from mlx_sidecar.library.results import Results, ResultsInvalid, Subject
from tests.support.clients import ODD_WORKER
from tests.support.models import Shelf
from tests.support.terminal import COMMAND, Done, Terminal, run
from tests.support.worker import DEADLINE_S, environment

Record = dict[str, Any]
QUICK = ["--max-tags", "1", "--vocabulary", "words", "--only"]
"""A few tokens a document."""


@pytest.fixture
def library(tmp_path: Path, shelf: Shelf) -> Library:
    """A folder of documents."""
    return Library(tmp_path, str(shelf.family("llama")))


class Library:
    """A folder of documents, and jobs on it."""

    def __init__(self, base: Path, model: str) -> None:
        self.base, self.model = base, model
        self.folder, self.results = base / "documents", base / "results.ndjson"
        (base / "words").write_text("river\nbridge\nmarket\n")
        self.folder.mkdir()

    def write(self, name: str, text: str) -> None:
        """A document."""
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_text(text, encoding="utf-8")

    def fill(self, many: int) -> set[str]:
        """That many documents, and their paths."""
        names = {f"{number % 5}/{number}.txt" for number in range(many)}
        for name in names:
            self.write(name, f"This is about number {name}.")
        return names

    def arguments(self, *more: str) -> list[str]:
        """A job's command line."""
        return ["tags", "--model", self.model, "--out", str(self.results), *QUICK, str(self.folder), *more]

    def run(self, *more: str) -> Done:
        """A job, to its end."""
        return run(*self.arguments(*more), cwd=self.base)

    def start(self) -> subprocess.Popen[bytes]:
        """A job that has begun."""
        return subprocess.Popen([COMMAND, *self.arguments()], stderr=subprocess.PIPE, env=environment(), cwd=self.base)

    def records(self) -> list[Record]:
        """All of them, each a whole line."""
        *lines, rest = self.results.read_bytes().split(b"\n")
        assert rest == b""
        return [json.loads(line) for line in lines if line]

    def answers(self) -> dict[str, Any]:
        """The tags of each document."""
        return {record["path"]: record["tags"] for record in self.records()}


def kill_at(process: subprocess.Popen[bytes], results: Path, lines: int) -> None:
    """SIGKILL once there are so many records."""
    while not results.exists() or results.read_bytes().count(b"\n") < lines:
        assert process.poll() is None, "it ended before it was killed"
    process.kill()
    process.communicate()


def test_a_job_that_is_killed_twice_is_complete_and_exact_in_the_end(library: Library) -> None:
    """Every document once, with the tags that a job gives that nobody killed; its workers are gone as well."""
    names = library.fill(100)
    workers: list[psutil.Process] = []
    for lines in (25, 60):
        job = library.start()
        while not (found := psutil.Process(job.pid).children()):
            assert job.poll() is None
        workers += found
        kill_at(job, library.results, lines)
    with library.results.open("ab") as stream:
        stream.write(b'{"job":"torn in the mid')
    assert library.run().returncode == 0
    assert psutil.wait_procs(workers, timeout=DEADLINE_S)[1] == []
    assert Counter(record["path"] for record in library.records()) == Counter(names)
    killed = library.answers()
    library.results.unlink()
    assert library.run().returncode == 0
    assert killed == library.answers()


def test_ctrl_c_says_how_to_go_on(library: Library) -> None:
    """With a bar that shows the pace meanwhile, exit code 130, and no process left."""
    names = library.fill(200)
    it = Terminal(library.arguments(), cwd=library.base)
    it.read_until("a second")
    workers = psutil.Process(it.pid).children()
    it.type(b"\x03")
    assert it.finish() == 130
    assert "goes on from there" in it.shown
    assert "Traceback" not in it.shown
    assert psutil.wait_procs(workers, timeout=DEADLINE_S)[1] == []
    assert 0 < len(library.records()) < 200
    assert library.run().returncode == 0
    assert Counter(record["path"] for record in library.records()) == Counter(names)


def test_what_is_asked_is_what_has_no_record(library: Library) -> None:
    """A record taken out by hand, a document that has changed or is new, and no other."""
    library.fill(6)
    library.write(".hidden/x.txt", "x")
    library.write("picture.png", "x")
    library.results = library.folder / "results.txt"
    assert library.run().stderr == "mlx-sidecar: 6 answered, 0 failed\n"
    lines = library.results.read_bytes().splitlines(keepends=True)
    library.results.write_bytes(b"".join([lines[5], b"\n", *lines[1:5]]))
    changed = json.loads(lines[1])["path"]
    library.write(changed, "Something else.")
    library.write("new.md", "x")
    assert library.run().stderr == "mlx-sidecar: 3 answered, 0 failed\n"
    assert library.run().stderr == "mlx-sidecar: there is nothing left to do\n"
    added = {record["path"] for record in library.records()[5:]}
    assert added == {json.loads(lines[0])["path"], changed, "new.md"}


def test_failures_are_recorded_with_their_codes_and_asked_again_where_that_can_help(library: Library) -> None:
    """Nothing is guessed, cut or left out in silence."""
    library.write("good.txt", "Rivers.")
    library.write("blank.md", " \n")
    (library.folder / "picture.txt").write_bytes(b"\xff\xfbGIF")
    (library.folder / "huge.txt").write_bytes(b"x " * (8 * 2**20 + 1))
    (library.folder / "link.txt").symlink_to(library.base / "later")
    (library.folder / os.fsdecode(b"name-\xff.txt")).write_bytes("Größe".encode("utf-16"))
    done = library.run()
    assert (done.returncode, done.stderr) == (1, "mlx-sidecar: 2 answered, 4 failed\n")
    codes = {record["path"]: record.get("code") for record in library.records()}
    assert codes == {
        "good.txt": None,
        "name-\\xff.txt": None,
        "blank.md": "invalid_params",
        "picture.txt": "not_text",
        "huge.txt": "message_too_large",
        "link.txt": "unreadable",
    }
    (library.base / "later").write_text("Now it can be read.")
    assert library.run().stderr == "mlx-sidecar: 1 answered, 0 failed\n"
    last = library.records()[-1]
    assert (last["path"], last["type"]) == ("link.txt", "response")


def test_what_is_no_document_holds_nobody_up(library: Library) -> None:
    """Pipes are recorded as what they are and not waited for, and what is far too long isn't read, now or later."""
    library.write("good.txt", "Rivers.")
    os.mkfifo(library.folder / "pipe.txt")
    with (library.folder / "huge.txt").open("wb") as stream:
        stream.truncate(200 * 2**30)
    assert library.run().stderr == "mlx-sidecar: 1 answered, 2 failed\n"
    codes = {record["path"]: record.get("code") for record in library.records()}
    assert codes == {"good.txt": None, "pipe.txt": "unreadable", "huge.txt": "message_too_large"}
    assert library.run().stderr == "mlx-sidecar: 0 answered, 1 failed\n"


def test_a_document_that_was_changed_back_is_asked_about_again(library: Library) -> None:
    """The last record of a path is of what the path holds."""
    for text in ("Rivers.", "Bridges.", "Rivers."):
        library.write("a.txt", text)
        assert library.run().stderr == "mlx-sidecar: 1 answered, 0 failed\n"
    first, second, third = library.records()
    assert first["digest"] == third["digest"] != second["digest"]


def test_every_name_has_a_path_of_its_own(library: Library) -> None:
    """Also one that spells out how another one, which isn't UTF-8, is written."""
    for name in (b"n-\xff.txt", rb"n-\xff.txt", rb"n-\\xff.txt"):
        (library.folder / os.fsdecode(name)).write_text("x")
    assert library.run().stderr == "mlx-sidecar: 3 answered, 0 failed\n"
    assert library.run().stderr == "mlx-sidecar: there is nothing left to do\n"
    assert {record["path"] for record in library.records()} == {
        r"n-\xff.txt",
        r"n-\\xff.txt",
        r"n-\\\\xff.txt",
    }


def test_one_file_belongs_to_one_job(library: Library, shelf: Shelf) -> None:
    """Another option, command or model doesn't mix with what is there."""
    library.fill(2)
    library.run()
    before = library.results.read_bytes()
    others = [
        library.arguments("--max-tags", "2"),
        ["summarize", "--model", library.model, "--out", str(library.results), str(library.folder)],
        library.arguments("--model", str(shelf.family("qwen2"))),
    ]
    for arguments in others:
        done = run(*arguments, cwd=library.base)
        assert (done.returncode, "another job" in done.stderr) == (1, True)
    assert library.results.read_bytes() == before


@pytest.mark.parametrize(
    "content", [b"my notes", b"my notes\n", b'{"job":"x"}\n', b'[1]\n{"job":"', b'{"job":1,"digest":"x","type":"x"}\n']
)
def test_a_file_that_is_no_jobs_is_left_as_it_is(library: Library, content: bytes) -> None:
    """Its line is named; nothing is cut off that this didn't write."""
    library.results.write_bytes(content)
    library.write("a.txt", "x")
    done = library.run()
    assert (done.returncode, "line 1 of" in done.stderr, done.stderr.count("\n")) == (1, True, 1)
    assert library.results.read_bytes() == content


def test_two_jobs_do_not_write_one_file(library: Library) -> None:
    """The second one says so."""
    library.write("a.txt", "x")
    with library.results.open("ab") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        done = library.run()
    assert (done.returncode, "another job is writing" in done.stderr) == (1, True)
    assert library.results.read_bytes() == b""


def test_a_full_disk_ends_the_job_and_leaves_whole_lines(library: Library) -> None:
    """One line says so, and with room the job goes on."""
    names = library.fill(20)
    limited = subprocess.run(
        [COMMAND, *library.arguments()],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        env=environment(),
        cwd=library.base,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000)),
    )
    assert (limited.returncode, limited.stderr.count("\n")) == (1, 1)
    assert str(library.results) in limited.stderr
    assert 0 < len(library.records()) < 20
    assert library.run().returncode == 0
    assert Counter(record["path"] for record in library.records()) == Counter(names)


def test_a_model_that_does_not_load_is_no_documents_failure(library: Library, shelf: Shelf) -> None:
    """Nothing is recorded."""
    library.write("a.txt", "x")
    done = run(
        "tags", "--model", str(shelf.broken("truncated")), "--out", "results", str(library.folder), cwd=library.base
    )
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert (library.base / "results").read_bytes() == b""


# Requests


def test_a_file_of_requests_is_answered_line_by_line(library: Library) -> None:
    """Each by its id, or by its line where it has none; what can't be asked is recorded, too."""
    requests = library.base / "requests.ndjson"
    lines = [
        '\ufeff{"command":"generate","prompt":"x","max_tokens":2,"max_token":9,"id":"a"}',
        '{"command":"generate","prompt":"x","max_tokens":2}',
        "",
        '{"command":"summarize","content":"x","max_words":3,"id":1}',
        '{"command":"status","id":"s"}',
        "nonsense",
        '{"command":"generate","prompt":"x","max_token":2,"max_tokens":"two","id":"b"}',
    ]
    requests.write_text("\n".join(lines), encoding="utf-8")
    arguments = ["batch", str(requests), "--model", library.model, "--out", str(library.results)]
    assert run(*arguments).stderr == "mlx-sidecar: 3 answered, 3 failed\n"
    found = {(record.get("id"), record.get("line")): record.get("code") for record in library.records()}
    assert found == {
        ("a", None): None,
        (None, 2): None,
        (1, None): None,
        ("s", None): "invalid_request",
        (None, 6): "parse_error",
        ("b", None): "invalid_params",
    }
    assert {record["usage"]["output_tokens"] for record in library.records() if record.get("id") == "a"} == {2}
    warned = {record["id"]: record["warnings"] for record in library.records() if "warnings" in record}
    assert warned == {"a": ["unknown field 'max_token' ignored; did you mean 'max_tokens'?"]}
    requests.write_text("\n".join([*lines, lines[1].replace("2", "3")]), encoding="utf-8")
    assert run(*arguments, "--json").stdout == '{"answered": 1, "failed": 0}\n'
    assert library.records()[-1]["line"] == 8


def test_an_id_that_stands_twice_is_refused_before_anything_is_asked(library: Library) -> None:
    """Which answer is whose couldn't be told."""
    requests = library.base / "requests.ndjson"
    requests.write_text('{"command":"generate","prompt":"x","id":7}\n' * 2)
    done = run("batch", str(requests), "--model", library.model, "--out", str(library.results))
    assert (done.returncode, "line 2 has the id of line 1" in done.stderr) == (1, True)
    assert library.results.read_bytes() == b""


# Inside


@pytest.mark.parametrize("later", ["first\nsecond\nnew\n", "second\n", ""], ids=["changed", "moved", "shorter"])
def test_requests_that_change_meanwhile_end_the_job(tmp_path: Path, later: str) -> None:
    """What is asked under a line's number is what stood there, or nothing."""
    path = tmp_path / "requests"
    path.write_text("first\nsecond\nthird\n")
    requests, results = Requests(path), Results(tmp_path / "results", "job")
    wanted = requests.to_do(results)
    results.close()
    assert [item.subject.line for item in requests.items(wanted)] == [1, 2, 3]
    path.write_text(later)
    with pytest.raises(RequestsInvalid, match="was changed meanwhile"):
        list(requests.items(wanted))


POISONS = {"one": {2}, "side by side": {0, 1, 2, 3, 4}, "all over": {3, 40, 81, 150, 199}}


@pytest.mark.parametrize("poisons", POISONS.values(), ids=POISONS)
def test_documents_that_end_the_worker_are_found_out_and_the_others_are_answered(
    tmp_path: Path, poisons: set[int]
) -> None:
    """What was lost with them is asked again one by one; they aren't asked again by the next run."""
    many = max(poisons) + 10
    for number in range(many):
        (tmp_path / f"{number:03}.txt").write_text("poison" if number in poisons else f"word{number}")
    folder = Folder(tmp_path, [".txt"], "generate-tags", calls.tags, tmp_path / "results")

    async def work(results: Results) -> Tally:
        command = [sys.executable, str(ODD_WORKER), "dies_of_poison"]
        restarts = msgspec.structs.replace(RESTARTS, first_wait_s=0.01, growth=1.0)
        async with AsyncClient(command=command, restarts=restarts) as client:
            tally = Tally()
            await Job(client, results, lambda _: None, tally).run(folder.items(folder.to_do(results)))
        return tally

    results = Results(tmp_path / "results", "job")
    assert asyncio.run(work(results)) == Tally(answered=many - len(poisons), failed=len(poisons))
    assert folder.to_do(results) == []
    results.close()
    records = [json.loads(line) for line in (tmp_path / "results").read_text().splitlines()]
    assert {record["path"]: record.get("tags") or record["code"] for record in records} == {
        f"{number:03}.txt": "worker_ended" if number in poisons else [f"word{number}"] for number in range(many)
    }


def test_the_last_record_of_a_subject_counts(tmp_path: Path) -> None:
    """While it is written, and when it is read again."""
    subject, results = Subject(path="a.txt"), Results(tmp_path / "results", "job")
    lines: list[tuple[str, Record, bool]] = [
        ("a", {"type": "response"}, True),
        ("a", {"type": "error", "retryable": True}, False),
        ("a", {"type": "error", "retryable": False}, True),
        ("b", {"type": "response"}, False),
    ]
    for digest, line, settled in lines:
        results.append(subject, digest, line)
        assert (results.has(subject, "a"), results.knows(subject)) == (settled, True)
        results.close()
        results = Results(tmp_path / "results", "job")
        assert results.has(subject, "a") == settled
    results.close()


def test_a_results_file_must_be_a_file(tmp_path: Path) -> None:
    """Not a pipe, nor a device."""
    os.mkfifo(tmp_path / "pipe")
    for path in (Path(os.devnull), tmp_path / "pipe"):
        with pytest.raises(ResultsInvalid, match="no plain file"):
            Results(path, "job")


def test_a_tail_that_never_reached_the_disk_is_cut_off(tmp_path: Path) -> None:
    """As a power failure leaves it: whole records, then nothing but NULs, or the beginning of one."""
    path = tmp_path / "results"
    for tail in (b"\0" * 100, b"{", b'{"job":"job","path":"b.txt"'):
        results = Results(path, "job")
        results.append(Subject(path="a.txt"), "digest", {"type": "response"})
        results.close()
        whole = path.read_bytes()
        path.write_bytes(whole + tail)
        results = Results(path, "job")
        assert (results.has(Subject(path="a.txt"), "digest"), path.read_bytes()) == (True, whole)
        results.close()
    assert signal.getsignal(signal.SIGXFSZ) == signal.SIG_IGN
