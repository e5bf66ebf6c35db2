"""protocol.md §20: the fields of every command's response, above all of the seven of the simple protocol."""

from __future__ import annotations

import importlib.metadata
import json
import os
from pathlib import Path
from typing import Any

import mlx_lm
import pytest
from mlx_lm.utils import get_total_parameters

from mlx_sidecar.protocol.commands import COMMANDS
from tests.support.models import PRECISIONS, Script, Shelf
from tests.support.texts import ARTICLE
from tests.support.worker import Line, Server, Worker, run_once

HELLO = Script(" alpha beta gamma delta.")
LOADED = frozenset(
    {"model_name", "param_count", "model_type", "quantization", "context_length", "memory_bytes", "load_s"}
)
USAGE = frozenset({"input_tokens", "cached_tokens", "output_tokens", "chunks"})
TIMING = frozenset({"queue_s", "prefill_s", "decode_s", "total_s", "tokens_per_s"})


@pytest.fixture
def worker(server: Server, shelf: Shelf) -> Worker:
    """A worker with a model that recites four words."""
    return server.with_model(shelf.reciter("hello", HELLO))


def missing(line: Line, fields: frozenset[str]) -> frozenset[str]:
    """The fields that a line lacks."""
    return fields - line.keys()


def check_measures(line: Line) -> None:
    """`usage` and `timing` are there, whole, and hold no nonsense."""
    assert (missing(line["usage"], USAGE), missing(line["timing"], TIMING)) == (frozenset(), frozenset())
    usage = [line["usage"][name] for name in sorted(USAGE)]
    assert all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in usage), usage
    assert line["usage"]["cached_tokens"] <= line["usage"]["input_tokens"]
    timing = [line["timing"][name] for name in sorted(TIMING)]
    assert all(isinstance(s, int | float) and s >= 0 for s in timing), timing


def test_check_availability_says_what_there_is() -> None:
    """Versions, device, memory and every command, without a model."""
    (line,) = run_once([{"command": "check-availability"}]).lines
    assert (line["type"], line["available"], line["protocol"]) == ("response", True, 1)
    assert line["mlx_version"] == importlib.metadata.version("mlx")
    assert line["mlx_lm_version"] == importlib.metadata.version("mlx-lm")
    assert line["version"] == importlib.metadata.version("mlx-sidecar")
    assert line["device"] in ("cpu", "gpu")
    assert isinstance(line["device_name"], str)
    assert 0 < line["memory"]["available_bytes"] <= line["memory"]["total_bytes"]
    assert sorted(line["commands"]) == sorted(COMMANDS)
    assert "reason" not in line


def test_check_availability_tells_the_limits_in_force() -> None:
    """The defaults, or what flags set."""
    ask = [{"command": "check-availability"}]
    usual, changed = (run_once(ask, *flags).lines[0]["limits"] for flags in ((), ("--max-queue", "7")))
    assert (usual["max_line_bytes"], usual["max_queue"], usual["max_concurrency"]) == (16 * 2**20, 1024, 16)
    assert usual["memory_limit_bytes"] is None
    assert changed == usual | {"max_queue": 7}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_load_model_and_model_info_say_what_was_loaded(shelf: Shelf, server: Server, precision: str) -> None:
    """The numbers are mlx-lm's own."""
    folder = shelf.family("llama", precision)
    worker = server.plain()
    loaded = worker.demand({"command": "load-model", "model_path": str(folder)})
    info = worker.demand({"command": "model-info"})
    assert (missing(loaded, LOADED | {"success"}), missing(info, LOADED)) == (frozenset(), frozenset())
    assert loaded["success"] is True
    assert loaded["model_name"] == folder.name
    assert loaded["param_count"] == get_total_parameters(mlx_lm.load(str(folder))[0])
    assert (loaded["model_type"], loaded["context_length"]) == ("llama", 2048)
    assert loaded["memory_bytes"] >= (folder / "model.safetensors").stat().st_size // 2
    assert loaded["load_s"] >= 0
    assert ("4" in json.dumps(loaded["quantization"])) == (precision == "4bit")
    assert {name: info[name] for name in LOADED} == {name: loaded[name] for name in LOADED}


def test_an_unquantized_model_has_no_quantization(worker: Worker) -> None:
    """The field is there and null."""
    info = worker.demand({"command": "model-info"})
    assert info["quantization"] is None


def test_load_model_shows_its_progress_when_asked(shelf: Shelf, server: Server) -> None:
    """Percentages rise from line to line and end at 100; without the wish there are none."""
    worker = server.plain()
    request = {"command": "load-model", "model_path": str(shelf.reciter("hello", HELLO))}
    worker.demand({**request, "progress": True, "id": "shown"})
    worker.demand({**request, "id": "silent"})
    percents = [line["progress"] for line in worker.progress("shown")]
    assert percents == sorted(percents)
    assert 0 <= percents[0] <= percents[-1] == 100
    assert worker.progress("silent") == []


def test_context_length_can_be_chosen(shelf: Shelf, server: Server) -> None:
    """It is said back by load-model and model-info."""
    worker = server.plain()
    request = {"command": "load-model", "model_path": str(shelf.family("llama")), "context_length": 300}
    assert worker.demand(request)["context_length"] == 300
    assert worker.demand({"command": "model-info"})["context_length"] == 300


def test_loading_by_a_relative_path_or_with_a_slash_works(shelf: Shelf, server: Server) -> None:
    """A path is taken as the worker's file system has it."""
    worker = server.plain()
    folder = shelf.family("llama")
    relative = os.path.relpath(folder, Path(__file__).resolve().parents[1])
    for path in (f"{folder}/", relative):
        assert worker.demand({"command": "load-model", "model_path": path})["model_name"] == folder.name


def test_a_model_of_the_hugging_face_cache_is_loaded_by_its_repo_id(shelf: Shelf, tmp_path: Path) -> None:
    """The cache is read as the library lays it out; what isn't there is never fetched."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    repo = tmp_path / "hub" / "models--acme--tiny"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(commit, encoding="ascii")
    (repo / "snapshots").mkdir()
    (repo / "snapshots" / commit).symlink_to(shelf.family("llama"), target_is_directory=True)
    requests: list[dict[str, Any]] = [
        {"command": "load-model", "repo_id": "acme/tiny"},
        {"command": "generate", "prompt": "Hello", "max_tokens": 3, "temperature": 0},
        {"command": "load-model", "repo_id": "acme/absent"},
        {"command": "list-models"},
        {"command": "load-model", "repo_id": "../../acme"},
    ]
    loaded, text, absent, listed, bad = run_once(requests, env={"HF_HOME": str(tmp_path)}).endings
    assert (loaded["model_name"], loaded["model_type"]) == ("acme/tiny", "llama")
    assert text["finish_reason"] == "length"
    assert (absent["code"], "acme/absent" in absent["error"]) == ("model_not_found", True)
    (entry,) = listed["models"]
    assert (entry["repo_id"], entry["revision"], entry["model_type"]) == ("acme/tiny", commit, "llama")
    assert bad["code"] in ("model_not_found", "invalid_params")


@pytest.mark.parametrize(
    "main",
    [b"", b"\xff\xfe", b"x" * 5000, b"../../outside", b"/", b"../snapshots", b"absent"],
    ids=lambda main: repr(main[:20]),
)
def test_a_branch_that_names_no_snapshot_is_no_way_out_of_the_cache(shelf: Shelf, tmp_path: Path, main: bytes) -> None:
    """Whatever its file says, the newest snapshot is loaded; what isn't a folder among them is none."""
    repo = tmp_path / "hub" / "models--acme--tiny"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_bytes(main)
    (repo / "snapshots").mkdir()
    (repo / "snapshots" / "dangling").symlink_to(tmp_path / "nowhere")
    (repo / "snapshots" / "sound").symlink_to(shelf.family("llama"), target_is_directory=True)
    (tmp_path / "outside").mkdir()
    load = {"command": "load-model", "repo_id": "acme/tiny"}
    (loaded,) = run_once([load], env={"HF_HOME": str(tmp_path)}).endings
    assert (loaded["type"], loaded["path"]) == ("response", str(repo / "snapshots" / "sound"))


def test_generate_tags_answers_with_tags(worker: Worker) -> None:
    """A list of strings, with usage and timing."""
    line = worker.demand({"command": "generate-tags", "content": ARTICLE})
    assert isinstance(line["tags"], list)
    assert all(isinstance(tag, str) for tag in line["tags"])
    check_measures(line)
    assert line["usage"]["chunks"] == 1


def test_summarize_answers_with_a_summary(worker: Worker) -> None:
    """A string, why it ended, usage and timing."""
    line = worker.demand({"command": "summarize", "content": ARTICLE})
    assert (line["summary"], line["finish_reason"]) == ("alpha beta gamma delta.", "stop")
    check_measures(line)
    assert line["usage"]["chunks"] == 1


def test_generate_answers_with_a_text(worker: Worker) -> None:
    """A string, why it ended, usage and timing; nothing of schemas or thinking that nobody asked for."""
    line = worker.demand({"command": "generate", "prompt": "Say four words."})
    assert (line["text"], line["finish_reason"]) == ("alpha beta gamma delta.", "stop")
    check_measures(line)
    assert {"json", "reasoning", "warnings", "id"} & line.keys() == set()


def test_deltas_make_up_the_text(worker: Worker) -> None:
    """Streamed pieces, none empty, add up to what the response says; without `stream` there are none."""
    request = {"command": "generate", "prompt": "Say four words."}
    text = worker.demand({**request, "stream": True, "id": "streamed"})["text"]
    deltas = [line["delta"] for line in worker.progress("streamed")]
    assert "".join(deltas) == text == "alpha beta gamma delta."
    assert len(deltas) > 1
    assert "" not in deltas
    worker.demand({**request, "id": "whole"})
    assert worker.progress("whole") == []


def test_max_tokens_ends_with_length(worker: Worker) -> None:
    """Two tokens are two words here, and the counts say so."""
    line = worker.demand({"command": "generate", "prompt": "x", "max_tokens": 2})
    assert (line["text"], line["finish_reason"], line["usage"]["output_tokens"]) == ("alpha beta", "length", 2)


@pytest.mark.parametrize(
    ("stop", "text", "reason"),
    [
        (["gamma"], "alpha beta ", "stop"),
        (["mma del"], "alpha beta ga", "stop"),
        (["delta", "beta"], "alpha ", "stop"),
        (["alpha"], "", "stop"),
        (["delta."], "alpha beta gamma ", "stop"),
        (["delta!"], "alpha beta gamma delta.", "stop"),
        (["."], "alpha beta gamma delta", "stop"),
        ([], "alpha beta gamma delta.", "stop"),
    ],
    ids=str,
)
def test_a_stop_string_ends_the_text_and_never_shows(worker: Worker, stop: list[str], text: str, reason: str) -> None:
    """Wherever it falls on the tokens, neither the text nor a delta holds a part of it."""
    request_id = f"stop {stop}"
    line = worker.demand({"command": "generate", "prompt": "x", "stop": stop, "stream": True, "id": request_id})
    assert (line["text"], line["finish_reason"]) == (text, reason)
    assert "".join(x["delta"] for x in worker.progress(request_id)) == text


def test_messages_and_a_prompt_are_the_same_request(shelf: Shelf, server: Server) -> None:
    """A prompt is one user message; a system text is a system message; they change the answer."""
    worker = server.with_model(shelf.family("qwen2"))
    base = {"command": "generate", "max_tokens": 12, "temperature": 0}
    user = {"role": "user", "content": "Tell me of rivers."}
    system = {"role": "system", "content": "Be brief and clear."}
    lines = worker.ask_all(
        [
            {**base, "prompt": user["content"], "id": "prompt"},
            {**base, "messages": [user], "id": "messages"},
            {**base, "prompt": user["content"], "system": system["content"], "id": "prompt+system"},
            {**base, "messages": [user], "system": system["content"], "id": "messages+system"},
            {**base, "messages": [system, user], "id": "system message"},
        ]
    )
    texts = [line["text"] for line in lines]
    assert texts[0] == texts[1] != texts[2]
    assert texts[2] == texts[3] == texts[4]


def test_a_system_text_that_the_template_refuses_is_never_dropped(shelf: Shelf, server: Server) -> None:
    """Gemma's template knows no system role: the text reaches the model some other way, or the request is refused."""
    worker = server.with_model(shelf.family("gemma3_text"))
    base = {"command": "generate", "prompt": "Tell me of rivers.", "max_tokens": 4, "temperature": 0}
    plain = worker.demand(base)
    line = worker.ask({**base, "system": "Be brief and clear."})
    if line["type"] == "error":
        assert line["code"] == "invalid_params"
    else:
        assert line["usage"]["input_tokens"] > plain["usage"]["input_tokens"]


def test_messages_that_the_template_refuses_are_the_parents_mistake(shelf: Shelf, server: Server) -> None:
    """Two user messages in a row: the template's own words reach the parent, and nothing breaks."""
    worker = server.with_model(shelf.family("gemma3_text"))
    messages = [{"role": "user", "content": "One."}, {"role": "user", "content": "Two."}]
    line = worker.ask({"command": "generate", "messages": messages, "max_tokens": 4})
    if line["type"] == "error":
        assert (line["code"], "alternate" in line["error"]) == ("invalid_params", True)
    assert worker.demand({"command": "generate", "prompt": "x", "max_tokens": 4})["text"]


SCHEMA = {
    "type": "object",
    "properties": {"size": {"type": "integer", "minimum": 0, "maximum": 99}, "kind": {"enum": ["river", "sea"]}},
    "required": ["size", "kind"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("family", ["llama", "gemma3_text", "phi3", "mamba"])
def test_a_schema_is_kept_to_by_any_model(shelf: Shelf, server: Server, family: str) -> None:
    """Random weights answer with JSON of the asked shape, parsed in `json`."""
    worker = server.with_model(shelf.family(family))
    line = worker.demand({"command": "generate", "prompt": "x", "schema": SCHEMA, "temperature": 1, "seed": 3})
    assert line["json"] == json.loads(line["text"])
    assert sorted(line["json"]) == ["kind", "size"]
    assert line["json"]["kind"] in ("river", "sea")
    assert line["json"]["size"] in range(100)
    assert line["finish_reason"] == "stop"


@pytest.mark.parametrize("family", ["llama", "gemma3_text", "phi3", "mamba"])
def test_choices_are_kept_to_by_any_model(shelf: Shelf, server: Server, family: str) -> None:
    """The text is one of the choices to the letter, and sampling finds more than one of them."""
    worker = server.with_model(shelf.family(family))
    choices = ["yes", "no", "not sure", 'quoted "no"', "über-🦊", "yes and no"]
    request = {"command": "generate", "prompt": "x", "choices": choices, "temperature": 2}
    lines = worker.ask_all([{**request, "seed": n, "id": n} for n in range(12)])
    assert {line["text"] for line in lines} <= set(choices)
    assert len({line["text"] for line in lines}) > 1
    assert {line["finish_reason"] for line in lines} == {"stop"}


@pytest.mark.parametrize("family", ["qwen2", "llama", "gemma3_text", "phi3"])
def test_a_choice_may_be_a_marker_of_the_chat_template(shelf: Shelf, server: Server, family: str) -> None:
    """It is written as plain text, and the answer goes on to its end."""
    choices = ["<|im_end|> is one", "<end_of_turn>", "<|eot_id|>", "</s>", "<|end|>"]
    worker = server.with_model(shelf.family(family))
    lines = worker.ask_all(
        [{"command": "generate", "prompt": "x", "choices": [each], "id": n} for n, each in enumerate(choices)]
    )
    assert [line.get("text") for line in lines] == choices


def test_an_answer_that_reaches_the_context_ends_with_length(shelf: Shelf, server: Server) -> None:
    """Prompt and answer together fill it to the last token."""
    worker = server.plain()
    worker.demand({"command": "load-model", "model_path": str(shelf.endless()), "context_length": 128})
    line = worker.demand({"command": "generate", "prompt": "x", "max_tokens": 5000})
    assert line["finish_reason"] == "length"
    assert line["usage"]["input_tokens"] + line["usage"]["output_tokens"] == 128


def test_a_prompt_that_leaves_no_room_is_refused_with_the_numbers(shelf: Shelf, server: Server) -> None:
    """Nothing is cut: the error says how many tokens there are and how many fit."""
    worker = server.plain()
    worker.demand({"command": "load-model", "model_path": str(shelf.endless()), "context_length": 128})
    line = worker.ask({"command": "generate", "prompt": ARTICLE})
    after = worker.demand({"command": "generate", "prompt": "x", "max_tokens": 1})
    assert (line["type"], line["code"], line["retryable"]) == ("error", "context_too_long", False)
    numbers = [n for n in line["data"].values() if isinstance(n, int)]
    assert 128 in numbers
    assert max(numbers) > 128
    assert "128" in line["error"]
    assert after["text"] == "alpha"


def test_model_info_without_a_model_is_an_error() -> None:
    """So are the three commands that need one."""
    requests = [
        {"command": "model-info"},
        {"command": "generate-tags", "content": "x"},
        {"command": "summarize", "content": "x"},
        {"command": "generate", "prompt": "x"},
    ]
    lines = run_once(requests).lines
    assert [(line["command"], line["code"]) for line in lines] == [
        (request["command"], "model_not_loaded") for request in requests
    ]


def test_shutdown_answers_last_and_ends_the_worker() -> None:
    """Its response follows those before it, and the worker ends though stdin is still open."""
    worker = Worker()
    try:
        worker.send({"command": "status"}, {"command": "shutdown"})
        finished = worker.drain(0)
    finally:
        worker.kill()
    assert [line["command"] for line in finished.lines] == ["status", "shutdown"]
    assert finished.lines[-1]["success"] is True


def test_unload_model_frees_and_model_info_knows(shelf: Shelf, server: Server) -> None:
    """The weights' memory is given back and counted."""
    worker = server.plain()
    worker.demand({"command": "load-model", "model_path": str(shelf.reciter("hello", HELLO))})
    line = worker.demand({"command": "unload-model"})
    info = worker.ask({"command": "model-info"})
    assert line["success"] is True
    assert line["freed_bytes"] > 1 << 20
    assert info["code"] == "model_not_loaded"


def test_status_says_what_the_worker_is_and_does(worker: Worker) -> None:
    """Idle, with a model, with memory that is more than nothing."""
    line = worker.demand({"command": "status", "id": "s"})
    fields = frozenset(
        {
            "state",
            "model",
            "uptime_s",
            "cpu_percent",
            "memory_bytes",
            "device_memory",
            "running",
            "queued",
            "requests",
            "downloads",
            "tokens_per_s",
        }
    )
    assert missing(line, fields) == frozenset()
    assert (line["state"], line["running"], line["queued"], line["downloads"]) == ("idle", 0, 0, [])
    assert line["model"] == "reciter-hello"
    assert line["memory_bytes"] > 1 << 20
    assert line["uptime_s"] > 0
    assert missing(line["device_memory"], frozenset({"active_bytes", "peak_bytes", "cache_bytes"})) == frozenset()
    assert [request for request in line["requests"] if request.get("id") != "s"] == []


def test_status_without_a_model_has_none() -> None:
    """The field is there and null."""
    (line,) = run_once([{"command": "status"}]).lines
    assert (line["model"], line["state"]) == (None, "idle")


def test_a_worker_without_a_model_is_small() -> None:
    """Under 60 MB resident: an app may start it long before anyone asks for a text."""
    check, line = run_once([{"command": "check-availability"}, {"command": "status"}]).lines
    assert (check["available"], line["memory_bytes"] < 60_000_000) == (True, True), line["memory_bytes"]


def test_status_lists_what_runs(shelf: Shelf, server: Server) -> None:
    """Each request with its id, command, state and tokens so far."""
    worker = server.with_model(shelf.endless())
    worker.send({"command": "generate", "prompt": "x", "max_tokens": 30_000, "stream": True, "id": "long"})
    worker.read_until("long", "progress")
    line = worker.demand({"command": "status", "id": "s"})
    worker.demand({"command": "cancel", "target": "long", "id": "c"})
    assert worker.ending("long")["code"] == "cancelled"
    (entry,) = (request for request in line["requests"] if request.get("id") == "long")
    assert missing(entry, frozenset({"id", "command", "state", "tokens"})) == frozenset()
    assert entry["command"] == "generate"
    assert entry["tokens"] >= 1
    assert (line["state"], line["running"]) == ("generating", 1)


def test_list_models_reads_a_folder(shelf: Shelf, tmp_path: Path, server: Server) -> None:
    """Sound and incomplete models are told apart; what is no model isn't listed; the folder itself may be one."""
    for name, source in {
        "sound": shelf.family("llama"),
        "small": shelf.family("qwen3", "4bit"),
        "torn": shelf.broken("missing_shard"),
    }.items():
        (tmp_path / name).symlink_to(source, target_is_directory=True)
    (tmp_path / "notes").mkdir()
    (tmp_path / "README.md").write_text("no model", encoding="utf-8")
    listed = server.plain().demand({"command": "list-models", "folder": str(tmp_path)})["models"]
    fields = frozenset({"name", "path", "size_bytes", "model_type", "quantization", "complete"})
    assert [missing(entry, fields) for entry in listed] == [frozenset()] * 3
    rows = sorted((entry["name"], entry["model_type"], entry["complete"]) for entry in listed)
    assert rows == [("small", "qwen3", True), ("sound", "llama", True), ("torn", "llama", False)]
    assert all(entry["size_bytes"] > 10_000 for entry in listed)


def test_list_models_without_a_cache_is_an_empty_list(server: Server) -> None:
    """A fresh machine has no models, and that is no error."""
    assert server.plain().demand({"command": "list-models"})["models"] == []


def test_list_models_of_a_folder_that_is_not_there_is_an_error(server: Server, tmp_path: Path) -> None:
    """A typo in the path is told, not an empty list."""
    line = server.plain().ask({"command": "list-models", "folder": str(tmp_path / "absent")})
    assert (line["type"], "absent" in line["error"]) == ("error", True)
    assert line["code"] in ("invalid_params", "model_not_found")


def test_status_says_that_the_model_of_the_start_is_still_loading() -> None:
    """From the first moment on; asked before there can be anything."""
    with Worker("--model", "demo") as it:
        assert it.demand({"command": "status", "id": "early"})["state"] == "loading"
        it.demand({"command": "model-info"})
        assert it.demand({"command": "status", "id": "late"})["state"] == "idle"


def test_status_of_a_long_document_is_generating_and_its_tokens_only_grow() -> None:
    """While it is cut, in each round of its summaries, and between them."""
    with Worker("--model", "demo", "--context-length", "300") as it:
        it.demand({"command": "model-info"})
        it.send({"command": "summarize", "content": ARTICLE * 12, "id": "long"})
        seen = []
        while not any(line.get("id") == "long" and line["type"] == "response" for line in it.transcript):
            status = it.demand({"command": "status", "id": "status"})
            if status["running"]:
                seen.append((status["state"], status["requests"][0]["tokens"]))
        tokens = [count for _, count in seen]
    assert {state for state, _ in seen} == {"generating"}
    assert tokens == sorted(tokens)
    assert tokens[-1] > 0
