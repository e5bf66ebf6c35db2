"""Reading a line costs what the line costs."""

from __future__ import annotations

import gc
import json
import re
from typing import Any

import pytest

from mlx_sidecar.protocol.codec import Accepted, Refused, decode
from mlx_sidecar.protocol.commands import COMMANDS

CONTAINERS = 100_000


@pytest.mark.parametrize("closed", [True, False], ids=["sound", "torn"])
def test_a_line_of_many_containers_is_read_without_collecting_garbage(closed: bool) -> None:
    """There is none; and afterwards it is collected as before."""
    begun: list[str] = []

    def note(phase: str, _: dict[str, Any]) -> None:
        begun.append(phase)

    line = b"[" + b"[]," * CONTAINERS + (b"[]]" if closed else b"[]")
    gc.callbacks.append(note)
    try:
        assert isinstance(decode(line), Refused)
    finally:
        gc.callbacks.remove(note)
    assert len(begun) < 10
    assert gc.isenabled()


USUAL: dict[str, dict[str, Any]] = {
    "generate-tags": {"content": "a text", "vocabulary": ["one"]},
    "summarize": {"content": "a text"},
    "classify": {"content": "a text", "labels": ["one", "two"]},
    "generate": {"prompt": "a question"},
    "load-model": {"model_path": "folder"},
    "download-model": {"repo_id": "owner/name"},
}
VALUES: list[Any] = [None, True, 5, -5, 1.5, 10**30, "", "x", "x" * 30_000, {}, {"name": 5}]
VALUES += [[], [None], [True], [5], [""], [[]], [{}], [{"content": 5}], ["x", 5], ["x"] * 20_000]
THING = r"(?:a (?:string|number|boolean)|an (?:integer|array|object)|null)"
LIMIT = r"(?: of (?:at least|at most|more than|less than) -?\d+(?:\.\d+)?(?: characters?| entry| entries)?)?"
EXPECTED = rf"(?:{THING}(?: or {THING})*{LIMIT}|one of '.*'|a value|some text)"
CAME = (
    r"(?:null|true|false|-?[0-9.e+]+|\".*\"|\"x+…(?: \(\d+ characters\))?|nothing|nothing but blanks"
    r"|an object|an array|an empty array|an array of \d+ entries)"
)
SENTENCE = re.compile(
    rf"field '[a-z_]+(?:\[\d+\])?(?:\.[a-z_]+)?': expected (?:{EXPECTED}, got {CAME}|an integer as each key)"
    r"|(?:field '[a-z_]+': )?(?:'.*' |needs |takes ).*"
)


@pytest.mark.parametrize(
    ("command", "field"),
    [
        (name, field)
        for name, known in COMMANDS.items()
        for field in known.request.__struct_fields__
        if field not in {"id"}
    ],
)
def test_what_is_of_a_wrong_type_is_told_in_english(command: str, field: str) -> None:
    """Each JSON type in each field: what was expected, and once what came."""
    for value in VALUES:
        line = json.dumps({"command": command, **USUAL.get(command, {}), field: value}).encode()
        read = decode(line)
        if isinstance(read, Refused):
            assert SENTENCE.fullmatch(read.error.message), (value, read.error.message)
            assert not re.search(r"\b(\w+) (?:an? )?\1\b", read.error.message.replace(str(value), ""))


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        ({"content": None}, "field 'content': expected a string, got null"),
        ({"content": []}, "field 'content': expected a string, got an empty array"),
        ({"content": "x", "vocabulary": [None]}, "field 'vocabulary[0]': expected a string, got null"),
        ({"content": "x", "vocabulary": [["x"]]}, "field 'vocabulary[0]': expected a string, got an array"),
        (
            {"content": "x", "vocabulary": []},
            "field 'vocabulary': expected an array of at least 1 entry, got an empty array",
        ),
        ({"content": "x", "max_tags": {}}, "field 'max_tags': expected an integer, got an object"),
        ({"content": "x", "max_tags": 51}, "field 'max_tags': expected an integer of at most 50, got 51"),
        ({"content": "x", "temperature": "hot"}, "field 'temperature': expected a number, got \"hot\""),
        ({"content": "x", "timeout_s": 0}, "field 'timeout_s': expected a number of more than 0, got 0"),
    ],
)
def test_a_refusal_to_the_letter(request_: dict[str, Any], told: str) -> None:
    """The field, what was expected, what came."""
    read = decode(json.dumps({"command": "generate-tags", **request_}).encode())
    assert isinstance(read, Refused)
    assert read.error.message == told


@pytest.mark.parametrize(
    ("fields", "warned"),
    [
        ({"command": "generate", "messages": [{"role": "user", "content": "x", "name": "n"}]}, "messages[0].name"),
        ({"command": "classify", "labels": ["a", {"name": "b", "text": "x"}]}, "labels[1].text"),
        ({"command": "classify", "labels": ["a", "b"], "examples": [{"content": "x", "label": "a", "x": 1}]}, "[0].x"),
        ({"command": "generate-tags", "examples": [{"content": "x", "tags": ["a"], "n": 1}]}, "examples[0].n"),
        ({"command": "summarize", "examples": [{"content": "x", "summary": "a", "n": 1}]}, "examples[0].n"),
    ],
)
def test_an_unknown_field_is_warned_of_wherever_it_stands(fields: dict[str, Any], warned: str) -> None:
    """In the objects that a request holds, too."""
    content = {} if "messages" in fields else {"content": "x"}
    read = decode(json.dumps({**fields, **content}).encode())
    assert isinstance(read, Accepted)
    assert [warned in warning for warning in read.warnings] == [True]


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"labels": ["caf\u00e9", "cafe\u0301"]}, "are alike"),
        ({"labels": ["a-b", "a b"]}, "are alike"),
        ({"labels": ["A", "a"]}, "are alike"),
        ({"labels": ["-", "-"]}, "are alike"),
        ({"labels": ["a", "b"], "examples": [{"content": "x", "labels": ["a", "b"]}]}, "need 'multi'"),
    ],
)
def test_labels_of_which_two_are_alike_are_refused(fields: dict[str, Any], problem: str) -> None:
    """As two tags would be the same tag; and an example has one label where one is asked for."""
    read = decode(json.dumps({"command": "classify", "content": "x", **fields}).encode())
    assert isinstance(read, Refused)
    assert problem in read.error.message


def test_labels_of_signs_alone_are_told_apart() -> None:
    """Nothing but what no tag is told apart by, and yet two labels."""
    assert isinstance(decode(b'{"command":"classify","content":"x","labels":["-","_"]}'), Accepted)
