"""protocol.md §2: which requests are read, and what is said of those that aren't."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mlx_sidecar.protocol.commands import COMMANDS
from tests.support.models import Script, Shelf
from tests.support.worker import Line, Server, Worker, run_once

HELLO = Script(" alpha beta gamma delta.")


@pytest.fixture
def worker(server: Server, shelf: Shelf) -> Worker:
    """A worker with a model that recites four words."""
    return server.with_model(shelf.reciter("hello", HELLO))


def refused(line: Line, code: str) -> str:
    """The sentence of an error that must have this code and can't be helped by trying again."""
    assert (line["type"], line.get("code"), line.get("retryable")) == ("error", code, False), line
    return str(line["error"])


@pytest.mark.parametrize("value", ["[]", '"status"', "null", "true", "1", "1.5", "[{}]"])
def test_a_line_that_is_json_but_no_object_is_an_invalid_request(worker: Worker, value: str) -> None:
    """Its command can't be read, so it is `unknown`."""
    worker.send_bytes(value.encode() + b"\n")
    line = worker.ending()
    refused(line, "invalid_request")
    assert line["command"] == "unknown"


@pytest.mark.parametrize("request_", [{}, {"command": None}, {"command": 5}, {"command": ["status"]}], ids=str)
def test_a_missing_or_non_string_command_is_an_invalid_request(worker: Worker, request_: dict[str, Any]) -> None:
    """The sentence names the field, and a valid id is echoed all the same."""
    line = worker.ask({**request_, "id": "me"})
    assert "command" in refused(line, "invalid_request")
    assert (line["command"], line["id"]) == ("unknown", "me")


@pytest.mark.parametrize(
    "request_id",
    ["x" * 129, 2**53, -(2**53), 10**30, 1.5, 1.0, True, False, [], ["a"], {}, {"a": 1}],
    ids=lambda value: repr(value)[:12],
)
def test_a_bad_id_is_an_invalid_request(worker: Worker, request_id: object) -> None:
    """It isn't echoed; the command is."""
    worker.send({"command": "status", "id": request_id})
    line = worker.ending()
    assert "id" in refused(line, "invalid_request")
    assert line["command"] == "status"
    assert "id" not in line


@pytest.mark.parametrize(
    "request_id",
    ["a", "x" * 128, "🦊" * 128, '\u2028\n\t\u0000"\\', 0, -1, 2**53 - 1, -(2**53 - 1), "1", "null"],
    ids=lambda value: ascii(value)[:12],
)
def test_an_id_is_echoed_unchanged(worker: Worker, request_id: str | int) -> None:
    """Up to 128 characters of any kind, or an integer that a double holds."""
    line = worker.demand({"command": "model-info", "id": request_id})
    assert line["id"] == request_id
    assert type(line["id"]) is type(request_id)


def test_an_id_is_echoed_on_every_line_of_its_request(worker: Worker) -> None:
    """Progress lines carry it too, and requests without one get none."""
    worker.demand({"command": "generate", "prompt": "x", "stream": True, "id": 17})
    deltas = worker.progress(17)
    assert [line["command"] for line in deltas] == ["generate"] * len(deltas)
    assert len(deltas) > 1
    assert "id" not in worker.demand({"command": "status"})


def test_a_number_and_a_text_are_different_ids(shelf: Shelf, server: Server) -> None:
    """1 and "1" may be in flight together."""
    worker = server.with_model(shelf.endless())
    endless = {"command": "generate", "prompt": "x", "max_tokens": 30_000, "stream": True}
    worker.send({**endless, "id": 1}, {**endless, "id": "1"})
    worker.read_until(1, "progress")
    assert worker.demand({"command": "cancel", "target": "1", "id": "c1"})["cancelled"] == 1
    assert worker.demand({"command": "cancel", "target": 1, "id": "c2"})["cancelled"] == 1
    assert [worker.ending(x)["code"] for x in (1, "1")] == ["cancelled", "cancelled"]


def test_an_id_in_flight_is_a_duplicate_and_its_owner_goes_on(shelf: Shelf, server: Server) -> None:
    """The newcomer is refused with the same id; afterwards the id is free again."""
    worker = server.with_model(shelf.endless())
    worker.send({"command": "generate", "prompt": "x", "max_tokens": 30_000, "stream": True, "id": "twin"})
    worker.read_until("twin", "progress")
    worker.send({"command": "model-info", "id": "twin"})
    line = worker.ending("twin")
    assert (line["command"], line["code"]) == ("model-info", "duplicate_id")
    worker.demand({"command": "cancel", "target": "twin", "id": "c"})
    assert worker.ending("twin")["code"] == "cancelled"
    worker.demand({"command": "model-info", "id": "twin"})


def test_an_unknown_command_is_answered_with_the_list_and_the_nearest(worker: Worker) -> None:
    """A typo costs one look at the error."""
    line = worker.ask({"command": "generate-tag", "id": 3})
    assert "generate-tag" in refused(line, "unknown_command")
    assert (line["command"], line["id"]) == ("generate-tag", 3)
    values = list(line["data"].values())
    assert sorted(COMMANDS) in [sorted(value) for value in values if isinstance(value, list)]
    assert "generate-tags" in values


def test_a_command_like_none_has_no_nearest(worker: Worker) -> None:
    """No name is offered that has nothing to do with what was asked; case matters."""
    line = worker.ask({"command": "完全に違う"})
    refused(line, "unknown_command")
    assert not any(isinstance(value, str) and value in COMMANDS for value in line["data"].values())
    refused(worker.ask({"command": "STATUS"}), "unknown_command")


GENERATE = {"command": "generate", "prompt": "x"}
TAGS = {"command": "generate-tags", "content": "x"}
SUMMARY = {"command": "summarize", "content": "x"}
INVALID: list[tuple[dict[str, Any], str]] = [
    ({"command": "generate-tags"}, "content"),
    ({**TAGS, "content": 5}, "content"),
    ({**TAGS, "content": None}, "content"),
    ({**TAGS, "content": ""}, "content"),
    ({**TAGS, "content": " \n\t\u00a0\u2003"}, "content"),
    ({**TAGS, "max_tags": 0}, "max_tags"),
    ({**TAGS, "max_tags": 51}, "max_tags"),
    ({**TAGS, "max_tags": 2.5}, "max_tags"),
    ({**TAGS, "max_tags": "5"}, "max_tags"),
    ({**TAGS, "max_tags": True}, "max_tags"),
    ({**TAGS, "vocabulary": "a"}, "vocabulary"),
    ({**TAGS, "vocabulary": [1]}, "vocabulary"),
    ({**TAGS, "vocabulary": [""]}, "vocabulary"),
    ({**TAGS, "vocabulary": ["x" * 41]}, "vocabulary"),
    ({**TAGS, "vocabulary": ["a\nb"]}, "vocabulary"),
    ({**TAGS, "vocabulary": ["a"], "vocabulary_mode": "must"}, "vocabulary_mode"),
    ({**TAGS, "vocabulary_mode": "only"}, "vocabulary"),
    ({**TAGS, "vocabulary_mode": "only", "vocabulary": []}, "vocabulary"),
    ({**TAGS, "language": 7}, "language"),
    ({"command": "summarize"}, "content"),
    ({**SUMMARY, "content": "  "}, "content"),
    ({**SUMMARY, "style": "haiku"}, "style"),
    ({**SUMMARY, "max_words": 0}, "max_words"),
    ({**SUMMARY, "max_words": "ten"}, "max_words"),
    ({**SUMMARY, "stream": "yes"}, "stream"),
    ({"command": "generate"}, "prompt"),
    ({**GENERATE, "prompt": 5}, "prompt"),
    ({**GENERATE, "prompt": ""}, "prompt"),
    ({**GENERATE, "messages": [{"role": "user", "content": "x"}]}, "messages"),
    ({"command": "generate", "messages": []}, "messages"),
    ({"command": "generate", "messages": [{"role": "user"}]}, "messages"),
    ({"command": "generate", "messages": [{"role": "king", "content": "x"}]}, "role"),
    ({"command": "generate", "messages": ["hi"]}, "messages"),
    ({**GENERATE, "max_tokens": 0}, "max_tokens"),
    ({**GENERATE, "max_tokens": -1}, "max_tokens"),
    ({**GENERATE, "max_tokens": 1.5}, "max_tokens"),
    ({**GENERATE, "stop": "a"}, "stop"),
    ({**GENERATE, "stop": [""]}, "stop"),
    ({**GENERATE, "choices": []}, "choices"),
    ({**GENERATE, "choices": ["a"], "schema": {"type": "object"}}, "schema"),
    ({**GENERATE, "schema": {"type": "no such type"}}, "schema"),
    ({**GENERATE, "schema": "object"}, "schema"),
    ({**GENERATE, "thinking": True}, "thinking"),
    ({**GENERATE, "temperature": -0.1}, "temperature"),
    ({**GENERATE, "temperature": 5.1}, "temperature"),
    ({**GENERATE, "temperature": "hot"}, "temperature"),
    ({**GENERATE, "top_p": 0}, "top_p"),
    ({**GENERATE, "top_p": 1.1}, "top_p"),
    ({**GENERATE, "top_k": -1}, "top_k"),
    ({**GENERATE, "top_k": 1.5}, "top_k"),
    ({**GENERATE, "min_p": -0.1}, "min_p"),
    ({**GENERATE, "min_p": 1.1}, "min_p"),
    ({**GENERATE, "repetition_penalty": 0}, "repetition_penalty"),
    ({**GENERATE, "seed": -1}, "seed"),
    ({**GENERATE, "seed": 2**53}, "seed"),
    ({**GENERATE, "seed": "lucky"}, "seed"),
    ({**GENERATE, "timeout_s": 0}, "timeout_s"),
    ({**GENERATE, "timeout_s": -1}, "timeout_s"),
    ({**GENERATE, "timeout_s": "1"}, "timeout_s"),
    ({"command": "load-model"}, "model_path"),
    ({"command": "load-model", "model_path": "demo", "repo_id": "a/b"}, "repo_id"),
    ({"command": "load-model", "model_path": 5}, "model_path"),
    ({"command": "load-model", "model_path": ""}, "model_path"),
    ({"command": "load-model", "model_path": "demo", "context_length": 0}, "context_length"),
    ({"command": "load-model", "model_path": "demo", "progress": 1}, "progress"),
    ({"command": "list-models", "folder": 5}, "folder"),
    ({"command": "cancel", "target": 1.5}, "target"),
    ({"command": "cancel", "target": "x" * 129}, "target"),
    ({"command": "shutdown", "grace_s": -1}, "grace_s"),
    ({"command": "shutdown", "grace_s": "now"}, "grace_s"),
]


@pytest.mark.parametrize(("request_", "field"), INVALID, ids=[json.dumps(r)[11:70] for r, _ in INVALID])
def test_a_wrong_field_is_named(worker: Worker, request_: dict[str, Any], field: str) -> None:
    """The sentence names the field; the model that is loaded and the worker are as before."""
    line = worker.ask({**request_, "id": "bad"})
    assert field in refused(line, "invalid_params")
    assert line["command"] == request_["command"]


def test_what_was_expected_and_what_came_is_said(worker: Worker) -> None:
    """The bounds of a number and the values of a choice stand in the sentence, with what came instead."""
    bounds = refused(worker.ask({**TAGS, "max_tags": 99}), "invalid_params")
    choice = refused(worker.ask({**SUMMARY, "style": "haiku"}), "invalid_params")
    kind = refused(worker.ask({**TAGS, "content": 5}), "invalid_params")
    assert [part for part in ("max_tags", "50", "99") if part not in bounds] == []
    assert [part for part in ("style", "sentence", "paragraph", "bullets", "haiku") if part not in choice] == []
    assert [part for part in ("content", "str", "5") if part not in kind] == []


def test_wrong_fields_are_found_before_a_missing_model() -> None:
    """Without a model, a request that could never work says so."""
    lines = run_once([{**TAGS, "max_tags": 0}, TAGS, {**GENERATE, "top_p": 7}, GENERATE]).lines
    codes = ["invalid_params", "model_not_loaded", "invalid_params", "model_not_loaded"]
    assert [line["code"] for line in lines] == codes


def test_an_unknown_field_is_a_warning_with_the_nearest_name(worker: Worker) -> None:
    """The request works, and the response says what was ignored."""
    line = worker.demand({**TAGS, "max_tag": 3, "id": "w"})
    assert line["warnings"] == ["unknown field 'max_tag' ignored; did you mean 'max_tags'?"]


def test_every_unknown_field_has_a_warning_of_its_own(worker: Worker) -> None:
    """A name like none is warned of without a suggestion; fields of other commands are unknown here."""
    line = worker.demand({"command": "model-info", "qqqq": 1, "zzzz": {"deep": [1]}, "max_tags": 5})
    assert sorted(line["warnings"]) == [
        "unknown field 'max_tags' ignored",
        "unknown field 'qqqq' ignored",
        "unknown field 'zzzz' ignored",
    ]


def test_unknown_fields_of_a_message_are_named(worker: Worker) -> None:
    """With their place; the request is answered as if they weren't there."""
    messages = [{"role": "user", "content": "x"}, {"role": "user", "content": "x", "contents": "y", "name": "z"}]
    line = worker.demand({"command": "generate", "messages": messages, "max_token": 1})
    assert line["warnings"] == [
        "unknown field 'max_token' ignored; did you mean 'max_tokens'?",
        "unknown field 'messages[1].contents' ignored; did you mean 'content'?",
        "unknown field 'messages[1].name' ignored",
    ]


def test_known_fields_bring_no_warnings(worker: Worker) -> None:
    """`timeout_s` and `id` belong to every command."""
    lines = worker.ask_all([{"command": c, "timeout_s": 60, "id": c} for c in ("status", "model-info", "cancel")])
    assert [line.get("warnings", []) for line in lines] == [[], [], []]


def test_a_whole_number_may_be_written_with_a_point(worker: Worker) -> None:
    """JSON has one kind of number: a client that writes 60.0 for 60 is understood where a number is meant."""
    line = worker.demand({**GENERATE, "temperature": 0, "top_p": 1, "timeout_s": 60, "id": "n"})
    assert line["text"] == "alpha beta gamma delta."
