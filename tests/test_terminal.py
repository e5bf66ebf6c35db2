"""The commands for people, as they are run: what they print, how they end, and what they leave."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import msgspec
import psutil
import pytest

from tests.support.models import Script, Shelf
from tests.support.programs import run_command
from tests.support.terminal import COMMAND, Terminal, run
from tests.support.worker import DEADLINE_S, environment

GOAL = "The home team won the final with a goal in the last minute. Thousands of fans celebrated."
ROSES = "Prune the roses in early spring. Roses love sun and water."


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two documents, one file that is none, and what Python would rather import than its own."""
    (tmp_path / "goal.md").write_text(GOAL)
    (tmp_path / "roses.txt").write_text(ROSES)
    (tmp_path / "picture.txt").write_bytes(b"\x89PNG\r\n\x1a\n\0")
    for name in ("queue", "json", "mlx_sidecar", "subprocess"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong module')")
    return tmp_path


def test_the_tags_of_a_document_are_a_line_each(folder: Path) -> None:
    """On stdout nothing else; that the model is a demonstration stands on stderr."""
    done = run("tags", "roses.txt", cwd=folder)
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "roses")
    assert "demonstration" in done.stderr
    assert done.stderr.count("\n") == 1


def test_several_documents_are_labelled_in_their_order_and_one_that_fails_stops_none(folder: Path) -> None:
    """Exit code 1, and a line on stderr for each that failed."""
    done = run("tags", "--max-tags", "1", "roses.txt", "picture.txt", "-", "nowhere", "goal.md", cwd=folder, stdin=b"x")
    assert done.returncode == 1
    assert [line.partition(":")[0] for line in done.stdout.splitlines()] == ["roses.txt", "-", "goal.md"]
    assert [line.split(": ")[1] for line in done.stderr.splitlines()[1:]] == ["picture.txt", "nowhere"]


def test_json_is_an_object_a_document(folder: Path) -> None:
    """With all that the worker says, failures among them; the model may come from the environment."""
    done = run("summarize", "--json", "goal.md", "picture.txt", cwd=folder, env={"MLX_SIDECAR_MODEL": "demo"})
    good, bad = map(json.loads, done.stdout.splitlines())
    assert (good["path"], good["finish_reason"], good["usage"]["chunks"]) == ("goal.md", "stop", 1)
    assert (bad["path"], bad["code"], bad["retryable"]) == ("picture.txt", "not_text", False)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize(("name", "code"), [("picture.txt", "not_text"), ("blank.txt", "invalid_params")])
def test_a_document_that_fails_alone_fails_as_among_others(folder: Path, name: str, code: str) -> None:
    """With --json on stdout, else on stderr under its name."""
    (folder / "blank.txt").write_text(" ")
    done = run("tags", "--model", "demo", "--json", name, cwd=folder)
    assert (done.returncode, json.loads(done.stdout)["code"], done.stderr) == (1, code, "")
    plain = run("tags", "--model", "demo", name, cwd=folder)
    assert (plain.returncode, plain.stdout, plain.stderr.count("\n")) == (1, "", 1)
    assert plain.stderr.startswith(f"mlx-sidecar: {name}: ")


def test_summaries_have_their_documents_names_above_them(folder: Path) -> None:
    """As `head` does it."""
    done = run("summarize", "--model", "demo", "goal.md", "roses.txt", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("==> goal.md <==\n")
    assert "\n\n==> roses.txt <==\n" in done.stdout


def test_a_vocabulary_can_be_given_and_be_all_there_is(folder: Path) -> None:
    """One tag a line."""
    (folder / "words").write_text("gardening\r\n\nfootball \n", encoding="utf-8")
    done = run("tags", "--model", "demo", "--vocabulary", "words", "--only", "--max-tags", "1", "goal.md", cwd=folder)
    assert done.stdout in ("gardening\n", "football\n")
    (folder / "words").write_text("garden\u2028football\n", encoding="utf-8")
    whole = run("tags", "--model", "demo", "--vocabulary", "words", "--only", "--json", "goal.md", cwd=folder)
    assert json.loads(whole.stdout)["tags"] == ["garden\u2028football"]


def test_text_is_generated_from_a_prompt_or_from_stdin(shelf: Shelf, tmp_path: Path) -> None:
    """Plain, or with all that is known of it."""
    model = str(shelf.reciter("three-words", Script(" alpha beta gamma")))
    plain = run("generate", "--model", model, "--temperature", "0", "Hello")
    assert (plain.returncode, plain.stderr) == (0, "")
    assert "alpha beta gamma" in plain.stdout
    (tmp_path / "schema").write_text('{"type": "boolean"}')
    held = run("generate", "--model", model, "--schema", str(tmp_path / "schema"), "--json", "-", stdin=b"Hello")
    assert isinstance(json.loads(held.stdout)["json"], bool)
    (tmp_path / "schema").write_text('{"const": 1234567}')
    cut = run("generate", "--model", model, "--schema", str(tmp_path / "schema"), "--max-tokens", "2", "Hello")
    assert (cut.returncode, cut.stdout) == (1, "12\n")
    assert "was cut before its end" in cut.stderr


def test_what_a_model_writes_does_not_steer_the_terminal(shelf: Shelf) -> None:
    """On a pipe it comes as it is, for programs."""
    model = str(shelf.reciter("escape", Script(" alpha\x1bbeta")))
    arguments = ["generate", "--model", model, "--temperature", "0", "Hello"]
    it = Terminal(arguments)
    assert it.finish() == 0
    assert "alpha\N{REPLACEMENT CHARACTER}beta" in it.shown
    assert "alpha\x1bbeta" in run(*arguments).stdout


def test_a_file_may_be_called_anything(folder: Path) -> None:
    """Also what isn't UTF-8, or holds a line break; in JSON it is escaped so that every reader takes it."""
    names = [b"odd-\xff.txt", rb"odd-\xff.txt", b"two\nlines.txt"]
    for name in names:
        (folder / os.fsdecode(name)).write_text(ROSES)
    done = run("tags", "--model", "demo", "--json", *map(os.fsdecode, names), "no\x1b[31mne", cwd=folder)
    assert [msgspec.json.decode(line)["path"] for line in done.stdout.splitlines()] == [
        r"odd-\xff.txt",
        r"odd-\\xff.txt",
        "two\nlines.txt",
        "no\x1b[31mne",
    ]
    plain = run("tags", "--model", "demo", *map(os.fsdecode, names), "no\x1bne", cwd=folder)
    assert plain.stdout.startswith("odd-\\udcff.txt: ")
    assert "\x1b" not in plain.stderr


def test_models_are_listed(shelf: Shelf, tmp_path: Path) -> None:
    """A line each; with none, what to do."""
    parent = shelf.family("llama").parent
    plain = run("models", str(parent))
    assert plain.returncode == 0
    assert any(line.startswith("llama") and "llama " in line for line in plain.stdout.splitlines())
    listed = [json.loads(line) for line in run("models", "--json", str(parent)).stdout.splitlines()]
    assert all(model["size_bytes"] > 0 for model in listed)
    none = run("models", str(tmp_path))
    assert (none.returncode, none.stdout, "mlx-sidecar download" in none.stderr) == (0, "", True)


def test_the_doctor_tries_it_out_and_says_what_to_do(tmp_path: Path) -> None:
    """Also with settings in the environment that no worker would start with."""
    env = {"HF_HOME": str(tmp_path), "MLX_SIDECAR_MAX_QUEUE": "nonsense", "LD_PRELOAD": ""}
    done = run("doctor", "--json", env=env)
    found = json.loads(done.stdout)
    assert (done.returncode, found["works"], found["problem"]) == (0, True, None)
    assert (found["cache"], found["cached_models"]) == (str(tmp_path / "hub"), 0)
    assert "mlx-sidecar download" in found["advice"][0]
    assert "OPENBLAS" in found["advice"][-1]
    plain = run("doctor", env=env)
    assert "the embedded one answers" in plain.stdout


def test_a_cache_that_can_not_be_used_is_what_the_doctor_finds(tmp_path: Path) -> None:
    """And what `models` says, instead of that there are none."""
    (tmp_path / "hub").write_text("no folder")
    done = run("doctor", "--json", env={"HF_HOME": str(tmp_path)})
    found = json.loads(done.stdout)
    assert (done.returncode, found["works"], found["cached_models"]) == (0, True, 0)
    assert found["advice"][0] == found["cache_problem"]
    assert f"'{tmp_path / 'hub'}', or set HF_HOME" in found["cache_problem"]
    plain = run("doctor", env={"HF_HOME": str(tmp_path)})
    assert f"{tmp_path / 'hub'}: can't be used" in plain.stdout
    listed = run("models", env={"HF_HOME": str(tmp_path)})
    assert (listed.returncode, listed.stdout, listed.stderr) == (1, "", f"mlx-sidecar: {found['cache_problem']}\n")


def test_without_a_home_there_is_no_cache_and_no_folder_called_so(tmp_path: Path) -> None:
    """As in a container with a user that the system doesn't know; an empty HOME is none either."""
    env = {"HF_HOME": "~nobody-of-this-name/x"}
    for command in (["models"], ["download", "owner/name"], ["tags", "--out", "r", "--model", "~nobody/x", "."]):
        done = run(*command, cwd=tmp_path, env=env)
        assert "Traceback" not in done.stderr
    assert "set HF_HOME" in run("models", cwd=tmp_path, env=env).stderr
    assert "set HF_HOME" in run("download", "owner/name", cwd=tmp_path, env=env).stderr
    assert "set HF_HOME" in json.loads(run("doctor", "--json", cwd=tmp_path, env=env).stdout)["advice"][0]
    assert {path.name for path in tmp_path.iterdir()} <= {"r"}


WRONG = [
    ["frobnicate"],
    ["tags"],
    ["tags", "--max-tags", "0", "x"],
    ["tags", "--max-tags", "51", "x"],
    ["tags", "--only", "x"],
    ["summarize", "--language", "x" * 65, "x"],
    ["tags", "--vocabulary", "/nowhere", "x"],
    ["tags", "--out", "results", "/nowhere"],
    ["tags", "--ext", ".py", "x"],
    ["batch", "/dev/null", "--out", "results"],
    ["summarize", "--style", "haiku", "x"],
    ["generate"],
    ["generate", "--temperature", "nan", "x"],
    ["generate", "--schema", "/dev/null", "x"],
    ["batch", "/nowhere", "--out", "results"],
    ["batch", "x"],
    ["batch", "x" * 5000, "--out", "results"],
    ["tags", "--out", "results", "x" * 5000],
    ["models", "a", "b"],
    ["doctor", "--no-such-flag"],
]


@pytest.mark.parametrize("arguments", WRONG, ids=lambda arguments: " ".join(arguments)[:40])
def test_bad_usage_is_one_line_and_exit_code_two(arguments: list[str]) -> None:
    """And says where to read on."""
    done = run(*arguments)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "--help" in done.stderr


def test_a_model_that_is_none_is_one_line(shelf: Shelf, folder: Path) -> None:
    """A path that doesn't exist is bad usage, a folder that can't be loaded a failure; no document is named for it."""
    absent = run("tags", "--model", "/nowhere/model", "goal.md", "roses.txt", cwd=folder)
    assert (absent.returncode, absent.stdout, absent.stderr.count("\n")) == (2, "", 1)
    assert "/nowhere/model" in absent.stderr
    broken = run("tags", "--model", str(shelf.broken("truncated")), "goal.md", "roses.txt", cwd=folder)
    assert (broken.returncode, broken.stdout, broken.stderr.count("\n")) == (1, "", 1)
    assert "model.safetensors" in broken.stderr


def test_who_has_read_enough_is_not_told_off(folder: Path) -> None:
    """`… | head` closes the pipe."""
    running = subprocess.Popen(
        [COMMAND, "tags", "--model", "demo", "goal.md", "roses.txt"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
        cwd=folder,
    )
    assert running.stdout is not None
    assert running.stderr is not None
    running.stdout.close()
    assert (running.stderr.read(), running.wait(DEADLINE_S)) == (b"", 128 + signal.SIGPIPE)
    running.stderr.close()


CLOSED = ["models {} >&-", "doctor >&-", "tags --model demo goal.md >&-", "tags goal.md 2>&-", "models {} <&- >&- 2>&-"]


@pytest.mark.parametrize("line", CLOSED)
def test_a_stream_that_is_closed_is_as_good_as_the_null_device(folder: Path, shelf: Shelf, line: str) -> None:
    """The exit code says the rest."""
    done = in_a_shell(line.format(shelf.family("llama").parent), folder)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_closed_stdin_is_an_empty_document(folder: Path) -> None:
    """Which can't be asked about."""
    done = in_a_shell("tags --model demo - <&-", folder)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "blanks" in done.stderr


def test_an_answer_that_finds_no_room_is_one_line_and_exit_code_one(folder: Path) -> None:
    """Python doesn't try once more at its end."""
    done = in_a_shell("tags --model demo goal.md >/dev/full", folder)
    assert (done.returncode, done.stderr) == (1, "mlx-sidecar: No space left on device\n")


def in_a_shell(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """`mlx-sidecar` with what a shell makes of that line."""
    return run_command(["sh", "-c", f"exec '{COMMAND}' {line}"], folder)


def test_json_is_ascii_where_characters_could_do_harm(folder: Path) -> None:
    """On a terminal, which they could steer, and in an encoding that has no word for them."""
    name = "odd-\x7f\x9b-ü"
    (folder / name).write_bytes(b"\0")
    arguments = ["tags", "--model", "demo", "--json", name, name]
    latin = run(*arguments, cwd=folder, env={"PYTHONIOENCODING": "ascii"})
    assert [json.loads(line)["path"] for line in latin.stdout.splitlines()] == [name] * 2
    it = Terminal(arguments, cwd=folder)
    assert it.finish() == 1
    assert "odd-\\u007f\\u009b-\\u00fc" in it.shown
    assert not {"\x7f", "\x9b"} & set(it.shown)


def workers_of(pid: int) -> list[psutil.Process]:
    """The processes that a command has started."""
    found: list[psutil.Process] = psutil.Process(pid).children(recursive=True)
    return found


def test_ctrl_c_ends_it_with_130_and_leaves_no_process(shelf: Shelf) -> None:
    """In the middle of an endless text, which is seen while it is made."""
    it = Terminal(["generate", "--model", str(shelf.endless()), "--max-tokens", "30000", "x"])
    it.read_until("alpha")
    workers = workers_of(it.pid)
    assert len(workers) == 1
    it.type(b"\x03")
    assert it.finish() == 130
    assert "Traceback" not in it.shown
    assert psutil.wait_procs(workers, timeout=DEADLINE_S)[1] == []


def test_a_worker_at_a_terminal_gives_a_hint_and_works() -> None:
    """Two lines on stderr; then it answers."""
    it = Terminal([])
    it.read_until("--help.\n")
    assert it.shown.count("\n") == 2
    it.type(b'{"command":"model-info"}\n\x04')
    assert it.finish() == 0
    assert '"code":"model_not_loaded"' in it.shown


def test_a_worker_on_a_pipe_is_silent() -> None:
    """The hint is for people."""
    done = run()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_labels_are_named_by_flags_or_a_file(folder: Path) -> None:
    """The one that fits, or with --multi those that do; with --scores all of them; with --json what the worker says."""
    (folder / "labels").write_text("roses: flowers and gardens\n\nlaw\n", encoding="utf-8")
    model = ("--model", "demo")
    one = run("classify", *model, "--labels", "labels", "roses.txt", cwd=folder)
    assert (one.returncode, one.stdout) == (0, "roses\n")
    by_flag = run(
        "classify", *model, "--label", "law", "--label", "roses: flowers", "--scores", "roses.txt", cwd=folder
    )
    assert [line.split(" ", 1)[1] for line in by_flag.stdout.splitlines()] == ["roses", "law"]
    several = ("--multi", "--min-score", "0", "--evidence", "--json", "roses.txt", "goal.md")
    first, second = run("classify", *model, "--labels", "labels", *several, cwd=folder).stdout.splitlines()
    assert sorted(json.loads(first)["labels"]) == sorted(json.loads(second)["labels"]) == ["law", "roses"]
    assert json.loads(first)["path"] == "roses.txt"
    assert len(json.loads(first)["evidence"]) == 2
    for wrong in ([], ["--label", "a"], ["--label", "a", "--label", "b", "--min-score", "0.5"]):
        refused = run("classify", *model, *wrong, "roses.txt", cwd=folder)
        assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (2, "", 1)
