"""Our worker plays every transcript of the conformance suite, and the suite notices what is wrong."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from tests.conformance.laws import Deviation
from tests.conformance.matching import mismatch
from tests.conformance.play import Setup, play
from tests.conformance.transcript import Transcript, read_all
from tests.support.worker import DEADLINE_S, REPOSITORY, command_line
from tests.support.wrong_worker import SINS

TRANSCRIPTS = read_all()
WRONG_WORKER = (sys.executable, str(REPOSITORY / "tests" / "support" / "wrong_worker.py"))
CONVERSATION = Transcript(
    "one",
    "Order: in turn",
    (
        {"send": [{"command": "status"}, {"command": "nope"}, {"command": "status", "id": 1}]},
        {"close": "stdin"},
        {"expect_unordered": [{"command": "status"}, {"code": "unknown_command"}, {"command": "status", "id": 1}]},
    ),
)


@pytest.mark.parametrize("transcript", TRANSCRIPTS, ids=lambda each: each.name)
def test_the_worker_conforms(transcript: Transcript, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the transcript says, and the laws that hold for all of them."""
    monkeypatch.chdir(REPOSITORY)
    play(transcript, Setup(tuple(command_line([])), "demo", DEADLINE_S))


def test_every_transcript_has_a_name_and_a_rule_of_its_own() -> None:
    """The rule names the heading of protocol.md under which it stands."""
    text = (REPOSITORY / "protocol.md").read_text(encoding="utf-8")
    headings = set(re.findall(r"^## (.*)$", text, re.MULTILINE))
    names = [each.name for each in TRANSCRIPTS]
    assert len(set(names)) == len(names) > 60
    assert {each.rule.partition(": ")[0] for each in TRANSCRIPTS} - headings == set()


@pytest.mark.parametrize("sin", [name for name in SINS if name != "none"])
def test_a_worker_that_is_wrong_in_one_thing_is_caught(sin: str) -> None:
    """Whatever it is, and though every expectation of the transcript may be met; and a hang isn't waited for."""
    with pytest.raises(Deviation):
        play(CONVERSATION, Setup((*WRONG_WORKER, sin), deadline_s=1 if sin in ("hangs", "lingers") else DEADLINE_S))


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


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line of the suite."""
    command = [sys.executable, "-m", "tests.conformance", *arguments]
    return subprocess.run(
        command, cwd=REPOSITORY, env={**os.environ}, capture_output=True, text=True, timeout=DEADLINE_S, check=False
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
