"""Every case of two lists that were written to break readers: JSON that is hardly so or not at all, and nasty strings.

`corpus/json.json`: each case's `json` has one character for each byte, or is a list of such texts, some of them with
how often they are repeated. `corpus/strings.json`: strings by what is nasty about them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.models import Shelf
from tests.support.worker import Line, Server, encode

CORPUS = Path(__file__).parent / "corpus"
STATUS = {"command": "status"}


def cases() -> list[tuple[bytes, str]]:
    """Each case in bytes, and whether it is valid, invalid, or either."""
    found = json.loads((CORPUS / "json.json").read_text())
    return [(written(case["json"]), case["is"]) for case in found]


def written(parts: str | list[str | tuple[str, int]]) -> bytes:
    """A case in bytes."""
    whole = [part if isinstance(part, str) else part[0] * part[1] for part in parts]
    return "".join(whole).encode("latin-1")


STRINGS: dict[str, list[str]] = json.loads((CORPUS / "strings.json").read_text())


def answers(server: Server, lines: list[bytes]) -> list[Line]:
    """What each of these lines ends with, all of them sent together; the worker lives on, and says nothing more.

    Readers don't agree on some of them, so the harness doesn't read them: none has an id, and they end in their order.
    """
    worker = server.plain()
    worker.demand(STATUS)
    worker.write(b"".join(line + b"\n" for line in lines))
    found = [worker.read_any() for _ in lines]
    assert worker.demand(STATUS)
    return found


def test_each_case_alone_is_one_error(server: Server) -> None:
    """What isn't JSON is `parse_error`; what is, is no request and `invalid_request`."""
    found = cases()
    codes = {"valid": {"invalid_request"}, "invalid": {"parse_error"}, "either": {"invalid_request", "parse_error"}}
    for (raw, kind), line in zip(found, answers(server, [raw for raw, _ in found]), strict=True):
        assert (raw[:80], line["command"]) == (raw[:80], "unknown")
        assert line["code"] in codes[kind], (raw[:80], line)


@pytest.mark.parametrize(
    "around",
    [
        lambda raw: b'{"command":"status","x":' + raw + b"}",
        lambda raw: b'{"x":[0,' + raw + b'],"command":"status"}',
    ],
    ids=["a field", "in a list"],
)
def test_each_case_within_a_request_spoils_it_or_does_not(server: Server, around: Callable[[bytes], bytes]) -> None:
    """A request is as valid as what is in it; an unknown field is a warning."""
    # These become something else there: they end what they stand in, or go on with it.
    found = [(raw, kind) for raw, kind in cases() if raw not in (b"1,", b"1]", b"1 -- one")]
    lines = answers(server, [around(raw) for raw, _ in found])
    for (raw, kind), line in zip(found, lines, strict=True):
        fine = line["type"] == "response" and line["warnings"]
        refused = (line["command"], line.get("code")) == ("unknown", "parse_error")
        assert {"valid": fine, "invalid": refused, "either": fine or refused}[kind], (raw[:80], line)


FIELDS: dict[str, Callable[[str], dict[str, Any]]] = {
    "command": lambda text: {"command": text},
    "a field's name": lambda text: {**STATUS, f"{text} field": 1},
    "target": lambda text: {"command": "cancel", "target": text},
    "model_path": lambda text: {"command": "load-model", "model_path": f"/nowhere/{text}"},
    "repo_id": lambda text: {"command": "load-model", "repo_id": text},
    "folder": lambda text: {"command": "list-models", "folder": f"/nowhere/{text}"},
    "style": lambda text: {"command": "summarize", "content": "x", "style": text},
    "role": lambda text: {"command": "generate", "messages": [{"role": text, "content": "x"}]},
}


@pytest.mark.parametrize("field", FIELDS)
def test_a_nasty_string_is_like_any_other(server: Server, field: str) -> None:
    """As a name, a path, an id: one ending each, and none of them is a bug."""
    texts = [text for group in STRINGS.values() for text in group]
    lines = answers(server, [encode(FIELDS[field](text)).strip(b"\n") for text in texts])
    assert [line for line in lines if line.get("code") == "internal"] == []


@pytest.mark.parametrize("group", STRINGS)
def test_a_nasty_string_is_a_text_like_any_other(shelf: Shelf, server: Server, group: str) -> None:
    """A document, a prompt, a stop string, a choice, a tag: it is answered, or refused with what is wrong."""
    worker = server.with_model(shelf.family("qwen2"))
    generate = {"command": "generate", "prompt": "x", "max_tokens": 3}
    requests = [
        request
        for text in STRINGS[group]
        for request in (
            {"command": "generate-tags", "content": text, "max_tags": 1},
            {"command": "generate-tags", "content": "x", "vocabulary": [text[:40]], "vocabulary_mode": "only"},
            {"command": "summarize", "content": f"{text} {text}", "language": text[:64], "max_words": 2},
            {**generate, "prompt": text or "x", "stream": True},
            {**generate, "stop": [text], "choices": [text]},
            {**generate, "messages": [{"role": "user", "content": text}], "system": text},
            {**generate, "schema": {"enum": [text]}},
        )
    ]
    for number, line in enumerate(worker.ask_all({**request, "id": n} for n, request in enumerate(requests))):
        assert line["type"] == "response" or line["code"] in ("invalid_params", "context_too_long"), requests[number]


def test_a_nasty_id_comes_back_as_it_was(server: Server) -> None:
    """Unchanged, if it has at most 128 characters; else it is refused."""
    worker = server.plain()
    for text in dict.fromkeys(text for group in STRINGS.values() for text in group):
        if len(text) <= 128:
            assert worker.demand({**STATUS, "id": text})["id"] == text
        else:
            worker.send({**STATUS, "id": text})
            assert worker.ending()["code"] == "invalid_request"
