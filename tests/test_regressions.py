"""What went wrong once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.models import Script, Shelf
from tests.support.worker import Server, Worker, run_once

HELLO = Script(" alpha beta gamma delta.")


def test_an_answer_nested_deeper_than_can_be_written_ends_its_request(shelf: Shelf, server: Server) -> None:
    """orjson reads 1,024 levels and writes 254; the worker lives on."""
    worker = server.with_model(shelf.family("llama"))
    levels: dict[str, Any] = {"a300": {"const": 1}}
    for level in range(300):
        inner = {"$ref": f"#/$defs/a{level + 1}"}
        levels[f"a{level}"] = {"type": "array", "minItems": 1, "maxItems": 1, "items": inner}
    schema = {"$ref": "#/$defs/a0", "$defs": levels}
    line = worker.demand({"command": "generate", "prompt": "x", "schema": schema, "max_tokens": 1000, "temperature": 0})
    assert (line["json"], line["text"]) == (None, "[" * 300 + "1" + "]" * 300)
    assert worker.demand({"command": "model-info"})["model_type"] == "llama"


def test_a_shutdown_that_times_out_still_ends_every_request(shelf: Shelf) -> None:
    """Each with a line of its own, the shutdown's last."""
    talk = [{"command": "generate", "prompt": "x", "max_tokens": 50_000, "id": n} for n in range(4)]
    end: dict[str, Any] = {"command": "shutdown", "timeout_s": 0.1, "grace_s": 60, "id": "end"}
    finished = run_once([*talk, end], "--model", str(shelf.endless()))
    assert [(line["id"], line["code"]) for line in finished.endings] == [
        *((n, "cancelled") for n in range(4)),
        ("end", "timeout"),
    ]


def test_the_answer_to_shutdown_is_the_last_line() -> None:
    """Whatever was read behind it has its line before; what wasn't read has none."""
    requests = [{"command": "shutdown"}, *({"command": "status", "id": n} for n in range(3000))]
    sent = "".join(json.dumps(request) + "\n" for request in requests).encode()
    finished = subprocess.run([sys.executable, "-m", "mlx_sidecar"], input=sent, stdout=subprocess.PIPE, check=True)
    lines = [json.loads(line) for line in finished.stdout.splitlines()]
    assert (lines[-1]["command"], lines[-1]["type"]) == ("shutdown", "response")
    assert {line["code"] for line in lines[:-1]} <= {"shutting_down"}


def test_a_pipe_that_does_not_block_is_no_end_of_input() -> None:
    """A parent may set O_NONBLOCK on the worker's end."""
    theirs, ours = os.pipe()
    os.set_blocking(theirs, False)
    with subprocess.Popen([sys.executable, "-m", "mlx_sidecar"], stdin=theirs, stdout=subprocess.PIPE) as process:
        os.close(theirs)
        os.write(ours, b'{"command":"status"}\n')
        assert process.stdout is not None
        assert b'"response"' in process.stdout.readline()
        os.close(ours)
        assert process.wait(10) == 0


def test_a_choice_that_begins_with_a_blank_is_answered_to_the_letter(shelf: Shelf, server: Server) -> None:
    """The detokenizer drops a first blank elsewhere."""
    worker = server.with_model(shelf.family("llama"))
    assert worker.demand({"command": "generate", "prompt": "x", "choices": [" lead"]})["text"] == " lead"


def test_a_document_full_of_markers_is_split_by_what_it_really_costs(shelf: Shelf, server: Server) -> None:
    """A marker is one token, its plain text several."""
    worker = server.with_model(shelf.family("qwen2"))
    worker.demand({"command": "load-model", "model_path": str(shelf.family("qwen2")), "context_length": 1024})
    content = ("word " * 20 + "<|im_end|>" * 40 + "\n") * 20
    assert worker.demand({"command": "generate-tags", "content": content})["usage"]["chunks"] > 1


def test_a_broken_chat_template_is_told_at_load(shelf: Shelf, server: Server, tmp_path: Path) -> None:
    """And the model that was loaded before is kept."""
    broken = shutil.copytree(shelf.family("llama", tokenizer="chatml"), tmp_path / "broken")
    (broken / "chat_template.jinja").write_text("{% for %}")
    worker = server.with_model(shelf.family("llama"))
    refused = worker.ask({"command": "load-model", "model_path": str(broken)})
    assert (refused["code"], refused["data"]["previous_model"]) == ("model_invalid", "kept")
    assert worker.demand({"command": "generate", "prompt": "x", "max_tokens": 2})["usage"]["output_tokens"] == 2


def test_progress_of_a_long_document_never_goes_back(shelf: Shelf, server: Server) -> None:
    """Also where its notes are summarized in rounds, and its parts computed in slices."""
    worker = server.plain()
    folder = str(shelf.reciter("hello", HELLO))
    worker.demand({"command": "load-model", "model_path": folder, "context_length": 160})
    content = "\n\n".join(f"Paragraph {n} tells of rivers, castles and gardens in some detail." for n in range(150))
    worker.demand({"command": "summarize", "content": content, "id": "long"})
    shown = [line["progress"] for line in worker.progress("long")]
    assert shown == sorted(shown)
    assert len(shown) > 1


def test_a_schema_with_a_thousand_optional_properties_is_no_bug(shelf: Shelf, server: Server) -> None:
    """It is kept to, or refused with the reason."""
    worker = server.with_model(shelf.family("llama"))
    for count in (500, 5000):
        properties = {f"property{n}": {"type": "string", "maxLength": 9} for n in range(count)}
        schema = {"type": "object", "properties": properties}
        line = worker.ask({"command": "generate", "prompt": "x", "schema": schema, "max_tokens": 20})
        assert line["type"] == "response" or line["code"] == "invalid_params"


def test_few_open_files_are_enough(shelf: Shelf) -> None:
    """mlx-lm asks for 2,048 as it is imported, which not every process may have; and nothing that it has is taken."""
    with Worker(under=["sh", "-c", 'ulimit -n 32; exec "$@"', "sh"]) as worker:
        worker.demand({"command": "load-model", "model_path": str(shelf.family("llama"))})
        assert worker.demand({"command": "generate", "prompt": "x", "max_tokens": 2})["text"]
    with Worker() as worker:
        before = psutil.Process(worker.process.pid).rlimit(psutil.RLIMIT_NOFILE)[1]
        worker.demand({"command": "load-model", "model_path": str(shelf.family("llama"))})
        assert psutil.Process(worker.process.pid).rlimit(psutil.RLIMIT_NOFILE)[1] == before


@pytest.mark.parametrize("stopped", ["cancel", "timeout"])
def test_a_load_that_is_stopped_says_what_it_has_left(shelf: Shelf, stopped: str) -> None:
    """Whether it had begun or waited, by a cancel or for want of time."""
    load = {"command": "load-model", "model_path": str(shelf.family("llama")), "progress": True}
    late = {"timeout_s": 0.001} if stopped == "timeout" else {}
    with Worker() as worker:
        worker.send({**load, **late, "id": "first"})
        if stopped == "cancel":
            worker.read_until("first", "progress")
            worker.send({"command": "cancel", "target": "first", "id": "stop"})
        line = worker.ending("first")
        assert line["type"] == "response" or line["data"] == {"text": "", "previous_model": "none"}
        worker.demand({**load, "id": "second"})
        worker.send({"command": "generate", "prompt": "x", "max_tokens": 900}, {**load, **late, "id": "third"})
        worker.demand({"command": "cancel", "target": "third", "id": "stop"})
        assert worker.ending("third")["data"] == {"text": "", "previous_model": "kept"}


def test_a_prompt_that_can_never_fit_is_refused_with_the_numbers(shelf: Shelf, server: Server) -> None:
    """As any other that is too long; megabytes of it are found out piece by piece."""
    worker = server.with_model(shelf.family("llama"))
    line = worker.ask({"command": "generate", "prompt": "word " * 2_000_000})
    assert (line["code"], line["data"]["prompt_chars"]) == ("context_too_long", 10_000_000)


def test_megabytes_without_a_blank_hold_up_nobody(shelf: Shelf, server: Server) -> None:
    """While they are cut and read, others are answered, and a cancel ends them."""
    worker = server.with_model(shelf.family("llama"))
    content = ".".join(f"word{number}" for number in range(800_000))
    worker.send(*({"command": c, "content": content, "id": c} for c in ("generate-tags", "summarize")))
    assert len(worker.demand({"command": "status", "id": "meanwhile"})["requests"]) == 2
    assert worker.demand({"command": "generate", "prompt": "x", "max_tokens": 3, "id": "small"})
    assert worker.demand({"command": "cancel", "id": "stop"})["cancelled"] == 2
    assert {worker.ending(command)["code"] for command in ("generate-tags", "summarize")} == {"cancelled"}
