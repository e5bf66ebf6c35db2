"""Memory is asked for before it is taken: what can't fit is refused with the numbers, what doesn't fit yet waits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.models import Shelf
from tests.support.worker import Worker

SPARE = 256 * 2**20
"""What the worker keeps for computing."""

PER_TOKEN = 2 * 16 * 4
"""A key and a value of sixteen numbers of four bytes: the endless model has one layer with one head."""

TEXT: dict[str, Any] = {"command": "generate", "prompt": "x", "stream": True}


def limited(model: Path, tokens: int, *flags: str) -> Worker:
    """A worker that may take a model, and beside it caches for so many tokens."""
    weights = (model / "model.safetensors").stat().st_size
    return Worker("--memory-limit-bytes", str(SPARE + weights + tokens * PER_TOKEN), *flags)


def test_a_request_that_does_not_fit_yet_waits(shelf: Shelf) -> None:
    """Behind those that run; then it has the memory that they gave back."""
    with limited(shelf.endless(), 3_000, "--prefix-cache-bytes", "0") as it:
        it.demand({"command": "load-model", "model_path": str(shelf.endless()), "context_length": 2000})
        it.send({**TEXT, "max_tokens": 1900, "id": "a"})
        it.read_until("a", "progress")
        it.send({**TEXT, "max_tokens": 1900, "id": "b"}, {**TEXT, "max_tokens": 10, "id": "c"})
        for _ in range(50):
            it.read_until("a", "progress")
        assert it.progress("b") == it.progress("c") == []
        it.demand({"command": "cancel", "target": "a", "id": "stop"})
        it.read_until("b", "progress")
        it.demand({"command": "cancel", "target": "b", "id": "stop"})
        assert it.ending("c")["usage"]["output_tokens"] == 10


def test_what_is_kept_makes_way_for_who_comes(shelf: Shelf) -> None:
    """The prefix cache is memory that nobody needs."""
    with limited(shelf.endless(), 6_000) as it:
        it.demand({"command": "load-model", "model_path": str(shelf.endless())})
        for number in range(4):
            it.demand({**TEXT, "prompt": f"{number} alpha " * 300, "max_tokens": 2})
        assert it.demand({"command": "status"})["prefix_cache"]["entries"] == 4
        it.demand({**TEXT, "prompt": "delta " * 300, "max_tokens": 4000, "stop": ["beta"]})
        assert it.demand({"command": "status"})["prefix_cache"]["entries"] < 5


def test_requests_that_fit_one_by_one_are_all_answered() -> None:
    """What the one before has left is no reason to refuse the next, though it is kept for prompts that may come."""
    weights, tokens = 11_320_000, 768
    room = tokens * 5 * 2 * 4 * 64 * 2 + 1_000_000
    with Worker("--model", "demo", "--memory-limit-bytes", str(SPARE + weights + room)) as it:
        prompt = "The river is near the harbour in winter and nobody there likes the cold music of trains. "
        request = {"command": "generate", "max_tokens": 450, "temperature": 0.7}
        it.send(*({**request, "prompt": f"{n} {prompt * 8}", "seed": n, "id": n} for n in range(4)))
        assert [it.ending(number)["type"] for number in range(4)] == ["response"] * 4
        assert it.demand({"command": "status"})["prefix_cache"]["entries"] > 0


def test_the_context_is_as_long_as_memory_allows(shelf: Shelf) -> None:
    """Unless it is asked for longer than that, which is refused at the load with the longest that could be."""
    with limited(shelf.endless(), 10_000) as it:
        load = {"command": "load-model", "model_path": str(shelf.endless())}
        line = it.ask({**load, "context_length": 60_000})
        assert line["code"] == "out_of_memory"
        most = line["data"]["most_tokens"]
        assert 1024 < it.demand(load)["context_length"] < most < 12_000
        assert it.demand({**load, "context_length": most - 1000})["context_length"] == most - 1000


def test_a_model_that_memory_cannot_hold_is_refused_before_it_is_read(shelf: Shelf) -> None:
    """With both numbers."""
    with Worker("--memory-limit-bytes", str(2**20)) as it:
        line = it.ask({"command": "load-model", "model_path": str(shelf.family("llama"))})
        assert line["code"] == "out_of_memory"
        assert line["data"]["needed_bytes"] > line["data"]["available_bytes"]


def test_a_model_that_leaves_no_memory_for_a_request_is_refused(shelf: Shelf) -> None:
    """With both numbers, in the sentence too: what can answer nothing isn't loaded."""
    with limited(shelf.endless(), 100) as it:
        line = it.ask({"command": "load-model", "model_path": str(shelf.endless())})
        assert (line["code"], line["data"]["previous_model"]) == ("out_of_memory", "none")
        needed, available = (line["data"][f"{which}_bytes"] for which in ("needed", "available"))
        assert needed == 256 * PER_TOKEN > available
        assert f"takes {needed // 1024} KiB beside the model, and {available // 1024} KiB can be had" in line["error"]


def test_a_context_that_memory_holds_is_promised_and_no_longer_one(shelf: Shelf) -> None:
    """Also where that is a short one; a request that fills it is answered."""
    with limited(shelf.endless(), 600, "--prefix-cache-bytes", "0") as it:
        loaded = it.demand({"command": "load-model", "model_path": str(shelf.endless())})
        assert loaded["context_length"] == 512
        text = it.demand({**TEXT, "max_tokens": 1000})
        assert text["usage"]["input_tokens"] + text["usage"]["output_tokens"] == 512


def test_what_the_model_before_takes_is_the_next_ones_room(shelf: Shelf) -> None:
    """Both fit, but no request beside both: by then the old one is gone."""
    weights = (shelf.endless() / "model.safetensors").stat().st_size
    with limited(shelf.endless(), weights // PER_TOKEN + 100) as it:
        load = {"command": "load-model", "model_path": str(shelf.endless())}
        first = it.demand(load)
        assert abs(it.demand(load)["context_length"] - first["context_length"]) <= 256
        assert it.demand({**TEXT, "max_tokens": 300})["usage"]["output_tokens"] == 300


def test_a_context_that_does_not_fit_never_costs_the_model_before(shelf: Shelf) -> None:
    """Memory doesn't hold both, and what the new one's context would take is known before anything is read."""
    with limited(shelf.endless(), 3_000) as it:
        load = {"command": "load-model", "model_path": str(shelf.endless())}
        it.demand(load)
        line = it.ask({**load, "context_length": 60_000})
        assert (line["code"], line["data"]["previous_model"]) == ("out_of_memory", "kept")
        assert it.demand({**TEXT, "max_tokens": 3})["usage"]["output_tokens"] == 3


def test_what_is_said_of_the_limit_helps(shelf: Shelf) -> None:
    """Where it is the limit that is missing, the sentence names it and what it should be: first for the weights, then
    for a request beside them."""
    limit, load = 2**20, {"command": "load-model", "model_path": str(shelf.family("llama"))}
    for needs in ("the model needs", "the shortest request takes"):
        with Worker("--memory-limit-bytes", str(limit)) as it:
            line = it.ask(load)
        assert (line["code"], needs in line["error"]) == ("out_of_memory", True), line
        assert f"--memory-limit-bytes is {limit}, of which {SPARE} are kept" in line["error"]
        limit = int(line["error"].split("set it to ")[1].split()[0])
    with Worker("--memory-limit-bytes", str(limit)) as it:
        it.demand(load)


def test_the_rank_of_an_adapter_is_in_the_budget(shelf: Shelf, tmp_path: Path) -> None:
    """One matrix of a great rank in a file of holes, and the settings ask for as great ones everywhere."""
    rank = 100_000
    tensor = {"dtype": "F32", "shape": [64, rank], "data_offsets": [0, 64 * rank * 4]}
    header = json.dumps({"model.layers.0.self_attn.q_proj.lora_a": tensor}).encode()
    with (tmp_path / "adapters.safetensors").open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(file.tell() + 64 * rank * 4)
    parameters = {"rank": rank, "scale": 1.0, "dropout": 0.0}
    settings = {"fine_tune_type": "lora", "num_layers": 2, "lora_parameters": parameters}
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings), encoding="utf-8")
    with limited(shelf.endless(), 500_000) as it:
        it.demand({"command": "load-model", "model_path": str(shelf.endless())})
        line = it.ask(
            {"command": "load-model", "model_path": str(shelf.family("llama")), "adapter_path": str(tmp_path)}
        )
        assert (line["code"], line["data"]["previous_model"]) == ("out_of_memory", "kept"), line
        assert line["data"]["needed_bytes"] > 14 * 128 * rank * 4 * 0.9
        assert it.demand({**TEXT, "max_tokens": 3})["usage"]["output_tokens"] == 3
