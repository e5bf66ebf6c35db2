"""Our worker plays what the conformance suite has for a process, and the suite notices what is wrong."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conformance.laws import Book, Deviation
from tests.conformance.matching import mismatch
from tests.conformance.play import LeftOut, Setup, play
from tests.conformance.transcript import STEPS, Step, Transcript, read_all
from tests.support.transcripts import over_pipes
from tests.support.worker import DEADLINE_S, REPOSITORY, command_line
from tests.support.wrong_worker import SINS

TRANSCRIPTS = read_all()
WRONG_WORKER = (sys.executable, str(REPOSITORY / "tests" / "support" / "wrong_worker.py"))
WRONG_LIFE = (sys.executable, str(REPOSITORY / "tests" / "support" / "wrong_life.py"))
CONVERSATION = Transcript(
    "one",
    "§4.1: in turn",
    (
        {"send": [{"command": "status"}, {"command": "nope"}, {"command": "status", "id": 1}]},
        {"close": "stdin"},
        {"expect_unordered": [{"command": "status"}, {"code": "unknown_command"}, {"command": "status", "id": 1}]},
    ),
)


@pytest.mark.parametrize("transcript", over_pipes(), ids=lambda each: each.name)
def test_the_worker_conforms(transcript: Transcript, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the transcript says, and the laws that hold for all of them."""
    monkeypatch.chdir(REPOSITORY)
    play(transcript, Setup(tuple(command_line([])), "demo", DEADLINE_S))


def test_every_transcript_has_a_name_and_a_rule_of_its_own() -> None:
    """tests/unit/test_protocol_text.py says whether protocol.md has it."""
    names = [each.name for each in TRANSCRIPTS]
    assert len(set(names)) == len(names) > 60
    assert all(re.match(r"§\d+\.\d+: ", each.rule) for each in TRANSCRIPTS)


@pytest.mark.parametrize("sin", [name for name in SINS if name != "none"])
def test_a_worker_that_is_wrong_in_one_thing_is_caught(sin: str) -> None:
    """Whatever it is, and though every expectation of the transcript may be met; and a hang isn't waited for."""
    with pytest.raises(Deviation):
        play(CONVERSATION, Setup((*WRONG_WORKER, sin), deadline_s=1 if sin in ("hangs", "lingers") else DEADLINE_S))


def transcript(*steps: Step, has_parent: bool = False) -> Transcript:
    """One that isn't in a file."""
    return Transcript("one", "§5.1: it lives", steps, has_parent=has_parent)


READY: tuple[Step, ...] = ({"send": [{"command": "status"}]}, {"expect": [{"type": "response"}]})
BUSY: tuple[Step, ...] = (
    *READY,
    {"send": [{"command": "generate", "stream": True, "id": "a"}]},
    {"progress": {"delta": "al"}},
)
STOPPED: Step = {"expect_unordered": [{"id": "c", "cancelled": 1}, {"id": "a", "code": "cancelled"}], "within_s": 1}
LIVES = {
    "term": transcript(*READY, {"signal": "TERM"}, {"exit": 0, "within_s": 1}),
    "term while busy": transcript(*BUSY, {"signal": "TERM"}, {"exit": 0, "within_s": 1}, {"expect": [{"id": "a"}]}),
    "int": transcript(*READY, {"signal": "INT"}, {"exit": 130, "within_s": 1}),
    "second": transcript(
        *READY, {"ignore": "stdout"}, {"signal": "TERM", "until_it_ends": True, "within_s": 1}, {"exit": 0}
    ),
    "parent": transcript(*READY, {"kill": "parent"}, {"exit": 0, "within_s": 1}, has_parent=True),
    "end of input": transcript(
        {"send": [{"command": "status", "id": "last"}]}, {"close": "stdin"}, {"exit": 0, "within_s": 1}, READY[1]
    ),
    "cancel": transcript(*BUSY, {"send": [{"command": "cancel", "target": "a", "id": "c"}]}, STOPPED),
    "status": transcript(
        *BUSY,
        {"send": [{"command": "status", "id": "s"}]},
        {"expect": [{"id": "s", "type": "response"}], "within_s": 1},
        {"send": [{"command": "cancel", "target": "a", "id": "c"}]},
        STOPPED,
    ),
    "load": transcript(
        {"send": [{"command": "load-model", "model_path": "x", "id": "l"}]}, {"expect": [{"code": "model_not_found"}]}
    ),
    "shutdown": transcript({"send": [{"command": "shutdown"}]}, {"exit": 0}, {"expect": [{"success": True}]}),
}
"""What the worker without a sin plays, each in a moment."""


@pytest.mark.parametrize("life", LIVES)
def test_a_worker_that_lives_as_it_should_passes(life: str) -> None:
    """So what follows is about the sins."""
    play(LIVES[life], Setup((*WRONG_LIFE, "none"), deadline_s=DEADLINE_S))


@pytest.mark.parametrize(
    ("life", "sin", "words"),
    [
        ("term", "term-late", "within 1 s; everything is answered, and the worker hasn't ended"),
        ("term", "term-deaf", "within 1 s; everything is answered, and the worker hasn't ended"),
        ("term while busy", "term-late", r"within 1 s; not answered: generate \(id 'a'\)"),
        ("int", "int-exits-0", "exit code: expected 130, got 0"),
        ("second", "second-signal-ignored", "doesn't end on one SIGTERM after the other within 1 s"),
        ("parent", "lives-without-parent", "no line came within 1 s"),
        ("end of input", "dies-at-eof", "exit code: expected 0, got 137"),
        ("end of input", "eof-exits-1", "exit code: expected 0, got 1"),
        ("end of input", "loses-the-last-at-eof", r"not answered: status \(id 'last'\)"),
        ("end of input", "stays-at-eof", "within 1 s; everything is answered, and the worker hasn't ended"),
        ("load", "measures-flood", r"\d+ measures in 0\.\d\d s, 10 a second are the most"),
        ("load", "measure-after-the-end", "no open request has this id"),
        ("load", "two-endings", "no open request has this id"),
        ("load", "key-twice", "the key 'type' twice in one object"),
        ("load", "traceback-as-sentence", "expected a text without"),
        ("load", "no-previous-model", "previous_model"),
        ("cancel", "cancel-late", r"no line came within 1 s; not answered: generate \(id 'a'\), cancel \(id 'c'\)"),
        ("cancel", "cancel-forgets", r"no line came within 1 s; not answered: generate \(id 'a'\)"),
        ("cancel", "delta-after-the-end", "no open request has this id"),
        ("cancel", "lies-about-deltas", "the deltas say 'al', the error"),
        ("status", "status-late", r"no line came within 1 s; not answered: generate \(id 'a'\), status \(id 's'\)"),
        ("shutdown", "answers-after-shutdown", "a line after the answer to shutdown"),
    ],
)
def test_a_life_that_is_wrong_in_one_thing_is_caught(life: str, sin: str, words: str) -> None:
    """And the message says in words what it was."""
    with pytest.raises(Deviation, match=words):
        play(LIVES[life], Setup((*WRONG_LIFE, sin), deadline_s=DEADLINE_S))


def test_measures_that_were_held_are_no_flood() -> None:
    """Ten a second are counted from the moment of the request: read late, they come all at once."""
    now = [0.0]
    book = Book(clock=lambda: now[0])
    book.sent(b'{"command":"load-model","progress":true}\n')
    measure = {"type": "progress", "command": "load-model", "progress": 1}
    now[0] = 5.0
    for _ in range(53):
        book.received(measure)
    with pytest.raises(Deviation, match="54 measures in 5"):
        book.received(measure)


def test_a_worker_without_a_flag_that_it_may_lack_is_left_out() -> None:
    """One that refuses it as it should; one that fails otherwise deviates."""
    needs = Transcript("one", "§5.1: it lives", (*READY,), optional_flags=("--memory",))
    refuses = (sys.executable, "-c", "import sys; sys.exit(2)")
    with pytest.raises(LeftOut, match="doesn't take --memory"):
        play(needs, Setup(refuses, deadline_s=DEADLINE_S))
    with pytest.raises(Deviation, match="stdout ended"):
        play(needs, Setup((sys.executable, "-c", "import sys; sys.exit(3)"), deadline_s=DEADLINE_S))


def test_a_log_on_stderr_is_nobodys_concern() -> None:
    """A worker may say there what it likes."""
    chatty = (sys.executable, "-c", "import os, sys; os.write(2, b'hello\\n' * 3); os.execv(sys.argv[1], sys.argv[1:])")
    (silent,) = (each for each in TRANSCRIPTS if each.name == "framing/silent_until_spoken_to")
    play(silent, Setup((*chatty, *WRONG_WORKER), deadline_s=DEADLINE_S))


def test_the_same_worker_without_a_sin_passes() -> None:
    """So it was the sin that was caught."""
    play(CONVERSATION, Setup(WRONG_WORKER, deadline_s=DEADLINE_S))


@pytest.mark.parametrize(
    ("pattern", "value"),
    [
        (1, True),
        (1, "1"),
        ({"a": 1}, {"b": 1}),
        ({"a": 1}, [1]),
        ([1], [1, 1]),
        ({"a": {"$absent": True}}, {"a": None}),
        ({"$is": "number"}, True),
        ({"$is": ["string", "null"]}, 0),
        ({"$one_of": [1, 2]}, 3),
        ({"$between": [0, 1]}, 1.1),
        ({"$between": [None, 1]}, "0"),
        ({"$contains": ["a", "b"]}, "a"),
        ({"$length": [2, None]}, "a"),
        ({"$each": {"$is": "string"}}, ["a", 1]),
        ({"$has": [1, 2]}, [1]),
        ([{"$same": "x"}, {"$same": "x"}], [1, 2]),
        ({"$is": "string", "$length": [1, 2]}, "abc"),
    ],
    ids=str,
)
def test_a_pattern_says_no(pattern: object, value: object) -> None:
    """Each matcher has something that it doesn't fit."""
    assert mismatch(pattern, value, {}) is not None


def test_a_matcher_that_there_is_not_is_a_mistake() -> None:
    """A typo in a transcript never passes for a field."""
    with pytest.raises(ValueError, match=r"\$any"):
        mismatch({"$any": "string"}, "x", {})


def run(*arguments: str, module: str = "tests.conformance", cwd: Path = REPOSITORY) -> subprocess.CompletedProcess[str]:
    """The command line of the suite."""
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(
        command, cwd=cwd, env={**os.environ}, capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )


def test_the_command_line_says_what_passed_and_what_did_not() -> None:
    """A line each, what needs a model is left out without one, and the exit code tells."""
    sound = f"{sys.executable} -m mlx_sidecar"
    good = run("--worker", sound, "framing/blank_lines", "commands/unload_model")
    bad = run("--worker", " ".join([*WRONG_WORKER, "banner"]), "framing/silent_until_spoken_to")
    none = run("--worker", sound, "no/such")
    assert (good.returncode, bad.returncode, none.returncode) == (0, 1, 2)
    assert good.stdout == "ok    framing/blank_lines\n1 passed, 0 failed, 1 left out that need --model\n"
    assert bad.stdout.startswith("FAIL  framing/silent_until_spoken_to: ")


@pytest.mark.parametrize(
    ("worker", "words"),
    [("/nonexistent --fast", "can't start '/nonexistent --fast'"), ("", "is empty"), ("'", "is no command line")],
)
def test_a_worker_that_there_is_not_is_one_message(worker: str, words: str) -> None:
    """Exit code 2 and no traceback."""
    done = run("--worker", worker, "framing/blank_lines")
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_the_folder_works_wherever_it_is_copied(tmp_path: Path) -> None:
    """As its README says, with nothing of this repository beside it, and under another name."""
    folder = REPOSITORY / "tests" / "conformance"
    shutil.copytree(folder, tmp_path / "conformance", ignore=shutil.ignore_patterns("__pycache__"))
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert "python -m conformance --worker" in text
    done = run("--worker", " ".join(WRONG_WORKER), "framing/silent_until_spoken_to", module="conformance", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "ok    framing/silent_until_spoken_to\n1 passed, 0 failed\n"), (
        done.stderr
    )


def test_the_readme_names_every_step_matcher_and_code_that_is_not_covered() -> None:
    """What it says can't be had has no transcript, and everything else has one."""
    folder = REPOSITORY / "tests" / "conformance"
    text = (folder / "README.md").read_text(encoding="utf-8")
    codes = set(json.loads((folder / "codes.json").read_text(encoding="utf-8")))
    transcripts = "".join(file.read_text(encoding="utf-8") for file in (folder / "transcripts").iterdir())
    without = {code for code in codes if f'"{code}"' not in transcripts}
    listed = set(re.findall(r"`([a-z_]+)`", text.partition("## What has no transcript")[2]))
    assert listed & codes == without
    assert {f'"{kind}": ' for kind in STEPS if f'"{kind}": ' not in text} == set()
