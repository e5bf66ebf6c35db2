"""Schemas as pydantic and zod write them: each compiles, and whatever is answered as a whole obeys it to the letter.

They lie with the benchmark of answers under schemas, each with a request and the answer that it has.
"""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker

from mlx_sidecar.engine import tokenizer as tokenizers_of
from mlx_sidecar.engine.constraint import GrammarCompiler
from mlx_sidecar.engine.job import JsonSchema
from mlx_sidecar.engine.tokenizer import Tokenizer
from mlx_sidecar.engine.vocabulary import Vocabulary
from mlx_sidecar.errors import InvalidParams
from mlx_sidecar.models import directory
from tests.support.models import Shelf
from tests.support.walks import walk

DATA = Path(__file__).parent.parent / "benchmarks" / "quality" / "data" / "schemas.json"
CASES: dict[str, dict[str, Any]] = {case["id"]: case for case in json.loads(DATA.read_text(encoding="utf-8"))}
OPEN = {"pydantic-allow", "pydantic-dict", "zod4-record", "zod4-loose", "zod3-record", "zod3-passthrough"}
"""Those that say themselves that an object may have other names."""


@pytest.fixture(scope="module")
def tokenizer(shelf: Shelf) -> Tokenizer:
    """A byte-level one: any text can be written with it."""
    return tokenizers_of.load(directory.check(shelf.family("llama", tokenizer="chatml")), frozenset(), {})


@pytest.fixture(scope="module")
def vocabulary(tokenizer: Tokenizer) -> Vocabulary:
    """Its tokens."""
    return Vocabulary(tokenizer)


@pytest.fixture(scope="module")
def constraints(tokenizer: Tokenizer, vocabulary: Vocabulary) -> GrammarCompiler:
    """What compiles schemas for it."""
    return GrammarCompiler(tokenizer, vocabulary, tokenizer.backend.get_vocab_size(), tokenizer.eos_ids)


def errors(schema: dict[str, Any], answer: Any) -> list[str]:
    """What a validator has against this answer."""
    validator = Draft202012Validator(schema, format_checker=FormatChecker())
    return [error.message for error in validator.iter_errors(answer)]


def parsed(text: str) -> Any:
    """The value of a JSON text in which no object has a name twice, written as `json.dumps` writes it."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len(dict(pairs)) == len(pairs), text
        return dict(pairs)

    return json.loads(text, object_pairs_hook=once)


def names(value: Any) -> set[str]:
    """Every name in a value."""
    if isinstance(value, dict):
        return set(value).union(*map(names, value.values()))
    return set[str]().union(*map(names, value)) if isinstance(value, list) else set()


def known(schema: Any) -> set[str]:
    """Every name in a schema, and every text: those of `enum` may be names."""
    if isinstance(schema, dict):
        return set(schema).union(*map(known, schema.values()))
    if isinstance(schema, list):
        return set[str]().union(*map(known, schema))
    return {schema} if isinstance(schema, str) else set()


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_an_answer_drawn_at_random_obeys_its_schema(
    constraints: GrammarCompiler, vocabulary: Vocabulary, tokenizer: Tokenizer, case: dict[str, Any]
) -> None:
    """And has no names but those of the schema, none twice; the answer that is expected obeys it, too."""
    schema = case["schema"]
    assert errors(schema, case["expected"]) == []
    whole = 0
    for seed in range(12):
        constrained = constraints.make(JsonSchema(schema))
        text = walk(constrained, vocabulary, tokenizer.eos_ids, Random(seed), 300)
        if text is not None:
            whole += 1
            answer = parsed(text)
            assert errors(schema, answer) == []
            assert case["id"] in OPEN or names(answer) <= known(schema)
    assert whole > 0


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_expected_answer_can_be_written(
    constraints: GrammarCompiler, tokenizer: Tokenizer, case: dict[str, Any]
) -> None:
    """As `json.dumps` writes it, in the order of its schema."""
    constrained = constraints.make(JsonSchema(case["schema"]))
    for token in tokenizer.encode(json.dumps(case["expected"], ensure_ascii=False)):
        assert constrained.token_mask()[token // 32] >> (token % 32) & 1
        constrained.take(token)
    assert any(constrained.token_mask()[token // 32] >> (token % 32) & 1 for token in tokenizer.eos_ids)


def test_a_schema_cannot_have_keywords_overlooked(constraints: GrammarCompiler) -> None:
    """llguidance would, where a schema holds options for it."""
    for schema in ({"type": "array", "uniqueItems": True}, {"type": "string", "format": "decimal"}):
        with pytest.raises(InvalidParams):
            constraints.make(JsonSchema({**schema, "x-guidance": {"lenient": True}}))
