"""What was answered with a receipt is asked again: the same, or what differs and why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.models import Script, Shelf
from tests.support.terminal import run
from tests.support.worker import run_once

GOAL = "The home team won the final with a goal in the last minute. Thousands of fans celebrated."
ROSES = "Prune the roses in early spring. Roses love sun and water."
ASKED: list[dict[str, Any]] = [
    {"command": "generate-tags", "content": GOAL, "scores": True, "evidence": True, "receipt": True, "id": "tags"},
    {"command": "generate", "prompt": "Hello", "max_tokens": 6, "receipt": True},
    {"command": "status"},
]


def record(file: Path, *lines: object) -> Path:
    """One line each."""
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def answers() -> list[dict[str, Any]]:
    """Of the embedded model."""
    return list(run_once(ASKED, "--model", "demo").endings)


def test_the_same_model_says_the_same(answers: list[dict[str, Any]], tmp_path: Path) -> None:
    """Also where tokens were drawn without a seed of the request's: the receipt has it."""
    done = run("reproduce", str(record(tmp_path / "record", *ASKED, *answers)), "--model", "demo")
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.partition(": ")[2] for line in done.stdout.splitlines()] == ["same", "same"]


def test_another_answer_is_told_with_its_reasons(answers: list[dict[str, Any]], shelf: Shelf, tmp_path: Path) -> None:
    """Another model: its digest differs, and so does the text."""
    tags = next(line for line in answers if line["command"] == "generate-tags")
    changed = {**tags, "tags": ["something else", *tags["tags"][1:]]}
    done = run("reproduce", str(record(tmp_path / "one", ASKED[0], changed)), "--model", "demo", "--json")
    (line,) = map(json.loads, done.stdout.splitlines())
    assert (done.returncode, line["same"], line["receipt"]) == (1, False, [])
    assert line["answer"] == [f"tags[0]: 'something else', now {tags['tags'][0]!r}"]
    model = str(shelf.reciter("three-words", Script(" alpha beta gamma")))
    text = next(line for line in answers if line["command"] == "generate")
    text = {**text, "receipt": {**text["receipt"], "context_length": 128}}
    other = run("reproduce", str(record(tmp_path / "two", ASKED[1], text)), "--model", model)
    assert other.returncode == 1
    assert "answer: text: " in other.stdout
    assert "receipt: model_digest: " in other.stdout


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ([], "no response with a receipt"),
        ([{"type": "response", "command": "generate", "text": "x", "receipt": {}}], "no request"),
        (["x"], "no JSON object"),
        ([{"command": "status"}, {"type": "response", "command": "status", "receipt": {}}], "asks no model"),
        (
            [{"command": "generate", "prompt": "x"}, {"type": "response", "command": "generate", "receipt": {}}],
            "no seed was recorded",
        ),
    ],
    ids=str,
)
def test_what_is_no_record_is_said(lines: list[object], problem: str, tmp_path: Path) -> None:
    """Exit code 2, and a line on stderr."""
    done = run("reproduce", str(record(tmp_path / "record", *lines)), "--model", "demo")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert problem in done.stderr


def test_a_job_s_results_can_be_asked_again(tmp_path: Path) -> None:
    """Its runs are recorded once each beside the results, which stay what they were; a changed document shows."""
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "goal.txt").write_text(GOAL)
    job = ("tags", "--model", "demo", "--max-tags", "2", "--out", "results", "notes")
    assert run(*job, cwd=tmp_path).returncode == 0
    (folder / "back\\slash.txt").write_text(ROSES)
    assert run(*job, cwd=tmp_path).returncode == 0
    assert run(*job, cwd=tmp_path).returncode == 0
    records = [json.loads(line) for line in (tmp_path / "results").read_text().splitlines()]
    assert [each["path"] for each in records] == ["goal.txt", "back\\\\slash.txt"]
    runs = [json.loads(line) for line in (tmp_path / "results.receipts").read_text().splitlines()]
    assert [run["offset"] > 0 for run in runs] == [False, True]
    assert all(run["request"]["max_tags"] == 2 and len(run["receipt"]["model_digest"]) == 64 for run in runs)
    again = ("reproduce", "results", "--from", "notes", "--model", "demo")
    done = run(*again, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "goal.txt: same\nback\\\\slash.txt: same\n"), done.stderr
    (folder / "goal.txt").write_text(ROSES)
    changed = run(*again, "--only", "goal.txt", cwd=tmp_path)
    assert (changed.returncode, changed.stdout.splitlines()[0]) == (1, "goal.txt: different")
    assert run("reproduce", "results", "--model", "demo", cwd=tmp_path).returncode == 2


def test_a_batch_s_results_can_be_asked_again(tmp_path: Path) -> None:
    """By ids and lines."""
    asked = [
        {"command": "classify", "content": GOAL, "labels": ["sport", "law"], "id": "a"},
        {"command": "generate", "prompt": "Hello", "max_tokens": 4, "seed": 3},
    ]
    requests = record(tmp_path / "requests", *asked)
    assert run("batch", str(requests), "--model", "demo", "--out", "results", cwd=tmp_path).returncode == 0
    wide = tmp_path / "wide"
    wide.write_text(requests.read_text(encoding="utf-8"), encoding="utf-16")
    for source in (requests, wide):
        done = run("reproduce", "results", "--from", str(source), "--model", "demo", cwd=tmp_path)
        assert (done.returncode, sorted(done.stdout.splitlines())) == (0, ["2: same", "a: same"]), done.stderr


def test_a_record_may_be_written_in_utf_16(answers: list[dict[str, Any]], tmp_path: Path) -> None:
    """As PowerShell writes what goes into a file; half of it is refused in a sentence."""
    plain = record(tmp_path / "record", *ASKED, *answers).read_text(encoding="utf-8")
    (tmp_path / "wide").write_text(plain, encoding="utf-16")
    done = run("reproduce", str(tmp_path / "wide"), "--model", "demo")
    assert (done.returncode, done.stdout.count(": same")) == (0, 2), done.stderr
    (tmp_path / "torn").write_bytes(plain.encode("utf-16")[:-1])
    done = run("reproduce", str(tmp_path / "torn"), "--model", "demo")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "save it as UTF-8" in done.stderr
