"""Contract §5: GGUF files with something wrong in them: one error each over pipes, and the model before answers."""

from __future__ import annotations

from pathlib import Path

from tests.support.gguf_damage import COUNT_OF_KINDS, damaged
from tests.support.worker import Worker


def test_each_damaged_file_is_one_error_and_the_model_before_answers(tmp_path: Path) -> None:
    """One of each kind of damage; what is loaded stays."""
    with Worker("--model", "demo") as it:
        before = it.demand({"command": "generate", "prompt": "x", "max_tokens": 3, "temperature": 0})
        for seed in range(COUNT_OF_KINDS):
            name, data = damaged(seed)
            path = tmp_path / f"{name}.gguf"
            path.write_bytes(data)
            line = it.ask({"command": "load-model", "model_path": str(path)})
            assert line.get("code") in {"model_invalid", "model_unsupported"}, (name, line)
            assert (line["data"]["previous_model"], path.name in line["error"]) == ("kept", True), (name, line)
        after = it.demand({"command": "generate", "prompt": "x", "max_tokens": 3, "temperature": 0})
    assert before["text"] == after["text"]
