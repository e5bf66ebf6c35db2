"""A receipt names what an answer depends on, and nothing that is private."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from msgspec import UNSET, to_builtins

from mlx_sidecar.engine.digests import DigestReading, ModelDigests, file_digests, with_template
from mlx_sidecar.protocol.requests import Classify, Generate, Summarize
from mlx_sidecar.tasks.receipt import receipt_of, with_seed
from tests.unit.test_evidence import finished
from tests.unit.test_tasks import WordModel


def digests(path: Path, adapter: Path | None = None) -> ModelDigests:
    """Of these folders."""
    found: ModelDigests = with_template(finished(file_digests(path, adapter)), "template")
    return found


def receipt(request: Any) -> dict[str, Any]:
    """As it goes over the wire."""
    found: dict[str, Any] = to_builtins(finished(receipt_of(request, WordModel(100))))
    return found


def test_who_asks_for_none_gets_none() -> None:
    """And the model's files aren't read."""
    assert finished(receipt_of(Summarize(content="x"), WordModel(100))) is UNSET


def test_a_receipt_has_options_and_no_text() -> None:
    """The text's digest tells whether it is the same."""
    one = receipt(Summarize(content="private words", style="bullets", receipt=True, id=5))
    other = receipt(Summarize(content="other words", style="bullets", receipt=True))
    assert "private" not in repr(one)
    assert one["options"]["style"] == "bullets"
    assert one["options"]["command"] == "summarize"
    assert not {"id", "content", "stream"} & one["options"].keys()
    assert one["input_digest"] != other["input_digest"]
    assert {**one, "input_digest": ""} == {**other, "input_digest": ""}
    assert "adapter_digest" not in one


def test_labels_are_options() -> None:
    """The answer depends on them."""
    assert receipt(Classify(content="x", labels=["a", "b"], receipt=True))["options"]["labels"] == ["a", "b"]


def test_a_seed_is_drawn_where_one_is_needed() -> None:
    """So that the text can be had again; a request that needs none has none."""
    drawn = with_seed(Generate(prompt="x", receipt=True))
    assert isinstance(drawn.seed, int)
    assert receipt(drawn)["seed"] == drawn.seed
    assert with_seed(Generate(prompt="x")).seed is None
    assert with_seed(Generate(prompt="x", receipt=True, temperature=0.0)).seed is None
    assert with_seed(Generate(prompt="x", receipt=True, seed=3)).seed == 3


def test_a_digest_is_of_weights_and_settings(tmp_path: Path) -> None:
    """Any change of these is another model; a README is no part of it."""
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "config.json").write_text("{}")
    first = digests(tmp_path)
    (tmp_path / "README.md").write_text("hello")
    assert digests(tmp_path) == first
    (tmp_path / "config.json").write_text("{ }")
    assert digests(tmp_path).model != first.model
    assert digests(tmp_path).template == hashlib.sha256(b"template").hexdigest()
    assert digests(tmp_path, tmp_path).adapter == digests(tmp_path).model


@pytest.mark.parametrize(
    "name",
    [
        *(
            "tokenizer.model",
            "spiece.model",
            "tiktoken.model",
            "qwen.tiktoken",
            "vocab.json",
            "vocab.txt",
            "merges.txt",
        ),
        *("special_tokens_map.json", "added_tokens.json", "generation_config.json", "tokenizer_config.json"),
    ],
)
def test_a_digest_is_of_every_file_that_changes_an_answer(tmp_path: Path, name: str) -> None:
    """A tokenizer's vocabulary as much as weights."""
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    (tmp_path / name).write_text("{}")
    first = digests(tmp_path)
    (tmp_path / name).write_text("{ }")
    assert digests(tmp_path).model != first.model


def test_a_file_of_the_cache_is_named_by_its_digest(tmp_path: Path) -> None:
    """It isn't read again; the digest is that of a plain file."""
    plain, cached = tmp_path / "plain", tmp_path / "cached"
    for folder in (plain, cached):
        folder.mkdir()
    (plain / "model.safetensors").write_bytes(b"weights")
    blob = tmp_path / hashlib.sha256(b"weights").hexdigest()
    blob.write_bytes(b"weights")
    (cached / "model.safetensors").symlink_to(blob)
    assert digests(cached) == digests(plain)


def test_who_asks_together_waits_for_one_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two receipts at once read each file once; one that can't be read is tried again by the next who asks."""
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    opened = list[Path]()
    plain_open = Path.open

    def counting(path: Path, *args: Any) -> Any:
        opened.append(path)
        if len(opened) == 1:
            raise OSError("not now")
        return plain_open(path, *args)

    monkeypatch.setattr(Path, "open", counting)
    reading = DigestReading(tmp_path, None)
    with pytest.raises(OSError, match="not now"):
        finished(reading.digests())
    one, other = reading.digests(), reading.digests()
    next(one)
    assert finished(other) == finished(one) == finished(reading.digests())
    assert len(opened) == 2
