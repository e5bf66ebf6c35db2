"""Schemas that would take minutes or gigabytes are refused; what is hard about a schema or a choice is no bug."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.models import Shelf
from tests.support.worker import Server

WORDS = [f"{a}{b}cdefgh" for a in "ijklmno" for b in "pqrs"]
WITH_WORD = [{"type": "string", "pattern": f".*{word}.*"} for word in WORDS]


def multiple(of: float) -> dict[str, Any]:
    """The schema of a number."""
    return {"type": "integer", "multipleOf": of}


def chain(length: int) -> dict[str, Any]:
    """Definitions that each ask for a pattern and refer to the next."""
    definitions = {f"d{n}": {**WITH_WORD[n], "$ref": f"#/$defs/d{n + 1}"} for n in range(length)}
    return {"$ref": "#/$defs/d0", "$defs": {**definitions, f"d{length}": {"type": "string"}}}


ENDLESS = {
    "a large multiple": multiple(9999991),
    "multiples at once": {"allOf": [multiple(997), multiple(1009)]},
    "multiples in parts of an object": {"anyOf": [{"properties": {"n": multiple(n)}} for n in (997, 1009)]},
    "many small multiples": {"anyOf": [multiple(n) for n in range(500, 550)]},
    "patterns at once": {"allOf": WITH_WORD},
    "words at once": {"allOf": [{"type": "string", "pattern": word} for word in WORDS]},
    "patterns in allOf in allOf": {"allOf": [{"allOf": WITH_WORD[:14]}, {"allOf": WITH_WORD[14:]}]},
    "patterns by reference": chain(24),
    "patterns by reference to a name": {
        "allOf": [{"$ref": f"#d{n}"} for n in range(24)],
        "$defs": {f"d{n}": {**WITH_WORD[n], "$anchor": f"d{n}"} for n in range(24)},
    },
    "patterns for one property": {"allOf": [{"type": "object", "properties": {"a": each}} for each in WITH_WORD]},
    "patterns for names": {"type": "object", "patternProperties": {f"^a{n}b": {} for n in range(2000)}},
    "a chain of references": {
        "$ref": "#/$defs/d0",
        "$defs": {f"d{n}": {"properties": {"a": {"$ref": f"#/$defs/d{(n + 1) % 3000}"}}} for n in range(3000)},
    },
    "many properties": {"type": "object", "properties": {f"key{n}": {"type": "integer"} for n in range(9000)}},
    "a long list": {"const": list(range(50_000))},
    "a long pattern": {"type": "string", "pattern": "x" * 500_000},
    "megabytes": {"enum": [f"number {n}" for n in range(200_000)]},
}
ORDINARY = {
    "prices": {"type": "number", "multipleOf": 0.01, "minimum": 0, "maximum": 1000},
    "seconds of a day": multiple(86400),
    "a power of ten beyond 64 bits": multiple(10**20),
    "some patterns": {"allOf": [{"type": "string", "pattern": "^[a-z]{2,9}$"}, {"pattern": "^a"}, {"maxLength": 5}]},
    "a tree": {
        "$ref": "#/$defs/node",
        "$defs": {
            "node": {
                "type": "object",
                "properties": {
                    "name": {"type": "string", "pattern": "^[a-z]{1,9}$"},
                    "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
                },
                "required": ["name", "children"],
                "additionalProperties": False,
            }
        },
    },
    "a pattern for each of many properties": {
        "type": "object",
        "properties": {f"p{n}": each for n, each in enumerate(WITH_WORD)},
        "additionalProperties": False,
    },
    "properties that are called like keywords": {
        "type": "object",
        "properties": {"multipleOf": {"type": "integer"}, "allOf": {"type": "string"}, "$ref": {"type": "string"}},
        "additionalProperties": False,
    },
    "three thousand optional keys": {
        "type": "object",
        "properties": {f"key{n}": {"type": "integer"} for n in range(3000)},
        "additionalProperties": False,
    },
}


@pytest.mark.parametrize("schema", ENDLESS.values(), ids=ENDLESS)
def test_a_schema_without_end_is_refused_and_those_beside_it_are_answered(
    shelf: Shelf, server: Server, schema: dict[str, Any]
) -> None:
    """It says what to simplify, and keeps nobody waiting."""
    worker = server.with_model(shelf.family("llama"))
    worker.send({"command": "generate", "id": "beside", "prompt": "x", "max_tokens": 20})
    worker.send({"command": "generate", "id": "endless", "prompt": "x", "schema": schema, "max_tokens": 9})
    worker.send({"command": "status", "id": "behind"})
    refused = worker.ending("endless")
    assert (refused["code"], refused["data"]["field"]) == ("invalid_params", "schema")
    assert refused["error"].startswith("field 'schema'")
    assert "is too complex" in refused["error"]
    assert worker.ending("behind")["type"] == worker.ending("beside")["type"] == "response"


@pytest.mark.parametrize("schema", ORDINARY.values(), ids=ORDINARY)
def test_an_ordinary_schema_is_honoured(shelf: Shelf, server: Server, schema: dict[str, Any]) -> None:
    """The bounds are far from what schemas need."""
    worker = server.with_model(shelf.family("llama"))
    line = worker.demand({"command": "generate", "prompt": "x", "schema": schema, "max_tokens": 30, "seed": 1})
    assert line["json"] is not None or line["finish_reason"] == "length"


def test_ten_thousand_choices_are_honoured(shelf: Shelf, server: Server) -> None:
    """Bounds are for schemas, not for lists."""
    choices = [f"choice number {n}" for n in range(10_000)]
    worker = server.with_model(shelf.family("llama"))
    assert worker.demand({"command": "generate", "prompt": "x", "choices": choices})["text"] in choices


@pytest.mark.parametrize("choices", [["x" * 1_000_000], [f"{n:0500}" for n in range(10_000)]], ids=["long", "many"])
def test_megabytes_of_choices_are_refused(shelf: Shelf, server: Server, choices: list[str]) -> None:
    """They would take a gigabyte."""
    line = server.with_model(shelf.family("llama")).ask({"command": "generate", "prompt": "x", "choices": choices})
    assert (line["code"], line["data"]) == ("invalid_params", {"field": "choices"})


@pytest.mark.parametrize("text", ["\ue0000\ue001", "a\ue0001\ue001b"])
@pytest.mark.parametrize("tokenizer", ["chatml", "gemma"])
def test_private_characters_are_text(shelf: Shelf, server: Server, tokenizer: str, text: str) -> None:
    """No text is an inner name of a marker."""
    worker = server.with_model(shelf.family("llama", tokenizer=tokenizer))
    common = {"command": "generate", "prompt": "x", "max_tokens": 100}
    assert worker.demand({**common, "schema": {"const": text}})["json"] == text
    assert worker.demand({**common, "schema": {"enum": [text]}})["json"] == text
    assert worker.demand({**common, "choices": [text]})["text"] == text


DECODERS = {
    "none": None,
    "Fuse": {"type": "Fuse"},
    "CTC": {"type": "CTC", "pad_token": "<pad>", "word_delimiter_token": "|", "cleanup": True},
    "WordPiece": {"type": "WordPiece", "prefix": "##", "cleanup": True},
}


@pytest.mark.parametrize("decoder", DECODERS.values(), ids=DECODERS)
def test_a_tokenizer_that_cannot_be_constrained_is_told(
    shelf: Shelf, server: Server, tmp_path: Path, decoder: dict[str, Any] | None
) -> None:
    """What a token's bytes are isn't known then; free generation works all the same."""
    folder = shutil.copytree(shelf.family("llama"), tmp_path / "model")
    described = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    (folder / "tokenizer.json").write_text(json.dumps({**described, "decoder": decoder}), encoding="utf-8")
    worker = server.with_model(folder)
    asked = {"command": "generate", "prompt": "x", "max_tokens": 5}
    for constraint in ({"choices": ["a", "b"]}, {"schema": {"type": "integer"}}):
        line = worker.ask({**asked, **constraint})
        assert line["code"] == "model_unsupported"
        assert "tokenizer" in line["error"]
    assert worker.demand(asked)["usage"]["output_tokens"] <= 5
