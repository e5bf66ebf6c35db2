"""protocol.md §10: what is promised of tags, on models with random weights, which are the worst there are."""

from __future__ import annotations

import unicodedata
from typing import Any

import pytest

from tests.support.models import FAMILIES, PRECISIONS, Script, Shelf
from tests.support.texts import ARTICLE, long_document
from tests.support.worker import Line, Server, run_once

TAGS: dict[str, Any] = {"command": "generate-tags", "content": ARTICLE}
NASTY = [
    "plain",
    "two words",
    "C++",
    'quo"ted',
    "back\\slash",
    "sl/ash",
    "naïve café",
    "naïve cafe\u0301",
    "東京タワー",
    "🦊",
    "مرحبا بالعالم",
    "<|im_end|>",
    "</think>",
    "[INST]",
    "{}",
    "null",
    "x" * 40,
    "İstanbul",
    "straße",
]


def alike(tag: str) -> str:
    """What two tags must not share: lower case, without blanks, hyphens and underscores."""
    return "".join(sign for sign in tag.lower() if not sign.isspace() and sign not in "-_")


def check_promises(line: Line, max_tags: int) -> list[str]:
    """Hold a response to every promise and return its tags."""
    assert line["type"] == "response", line
    tags: list[str] = line["tags"]
    assert len(tags) <= max_tags
    assert [tag for tag in tags if not tag.strip()] == []
    assert [tag for tag in tags if len(tag) > 40] == []
    assert [tag for tag in tags if any(unicodedata.category(sign) == "Cc" for sign in tag)] == []
    assert len({alike(tag) for tag in tags}) == len(tags), tags
    return tags


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("family", FAMILIES)
def test_tags_keep_every_promise_on_random_weights(shelf: Shelf, server: Server, family: str, precision: str) -> None:
    """Greedy and hot, few and many, all running together."""
    worker = server.with_model(shelf.family(family, precision))
    asked: list[dict[str, Any]] = [
        {**TAGS, "id": "default"},
        {**TAGS, "id": "one", "max_tags": 1},
        {**TAGS, "id": "many", "max_tags": 12},
        {**TAGS, "id": "hot", "max_tags": 8, "temperature": 1.5, "seed": 1},
        {**TAGS, "id": "French", "language": "fr", "temperature": 0.9, "top_p": 0.9, "seed": 2},
    ]
    lines = worker.ask_all(asked)
    found = [check_promises(line, request.get("max_tags", 5)) for request, line in zip(asked, lines, strict=True)]
    assert all(found)


def test_a_model_that_repeats_itself_is_not_driven_into_nonsense(shelf: Shelf, server: Server) -> None:
    """A tag that is there already is dropped, and after two in a row the list is over."""
    worker = server.with_model(shelf.reciter("circle", Script(" alpha\n", endless=True)))
    line = worker.demand({**TAGS, "max_tags": 50})
    assert (line["tags"], line["usage"]["output_tokens"]) == (["alpha"], len(3 * ("alpha", "\n")))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_closed_vocabulary_is_kept_to(shelf: Shelf, server: Server, family: str, precision: str) -> None:
    """With `only` every tag is one of the given strings, spelled as given."""
    worker = server.with_model(shelf.family(family, precision))
    request = {**TAGS, "vocabulary": NASTY, "vocabulary_mode": "only", "max_tags": 10}
    lines = worker.ask_all(
        [
            {**request, "id": "greedy"},
            {**request, "id": "hot", "temperature": 2, "seed": 4},
            {**request, "id": "single", "vocabulary": ["🦊"], "temperature": 1, "seed": 5},
        ]
    )
    greedy, hot, single = (check_promises(line, 10) for line in lines)
    assert (set(greedy) - set(NASTY), set(hot) - set(NASTY), single) == (set(), set(), ["🦊"])
    assert hot


def test_five_thousand_tags_of_any_script_are_a_vocabulary(shelf: Shelf, server: Server) -> None:
    """Alone, again, and beside each other; each tag is one of them to the letter."""
    scripts = (
        "a",
        "Ω",
        "я",
        "ש",
        "ب",
        "あ",
        "漢",
        "한",
        "🦊",
        "é",
        "ñ",
        "ß",
        "\u0301x",
        "“",
        "[",
        "\\",
        "(",
        "*",
        "|",
        "?",
    )
    vocabulary = [f"{mark}{'-' if n % 3 else ' '}{mark}{n}" for n in range(250) for mark in scripts]
    worker = server.with_model(shelf.family("llama"))
    request = {**TAGS, "vocabulary": vocabulary, "vocabulary_mode": "only", "max_tags": 12}
    first, again = worker.demand(request), worker.demand(request)
    lines = worker.ask_all([{**request, "temperature": 2, "seed": n, "id": n} for n in range(4)])
    assert first["tags"] == again["tags"]
    for line in [first, *lines]:
        assert line["tags"]
        assert set(line["tags"]) <= set(vocabulary)
        assert len(set(line["tags"])) == len(line["tags"])


def test_joiners_are_no_control_characters(shelf: Shelf, server: Server) -> None:
    """Emoji, Persian and Hindi are written with U+200C and U+200D: such entries are words like any other."""
    worker = server.with_model(shelf.family("llama"))
    vocabulary = ["👩\u200d👩\u200d👧\u200d👦", "می\u200cخواهم", "क्\u200dष"]
    line = worker.demand({**TAGS, "vocabulary": vocabulary, "vocabulary_mode": "only", "temperature": 1, "seed": 1})
    assert set(check_promises(line, 5)) <= set(vocabulary)
    assert line["tags"]


def test_entries_that_are_alike_are_given_once(shelf: Shelf, server: Server) -> None:
    """A vocabulary may hold spellings of one word; of each word there is at most one tag."""
    worker = server.with_model(shelf.family("llama"))
    vocabulary = ["Data Base", "database", "data-base", "DATA_BASE", "sea", "Sea"]
    request = {**TAGS, "vocabulary": vocabulary, "vocabulary_mode": "only", "max_tags": 6, "temperature": 1}
    for line in worker.ask_all([{**request, "seed": n, "id": n} for n in range(8)]):
        assert set(check_promises(line, 6)) <= set(vocabulary)


def test_a_preferred_vocabulary_leaves_other_tags_possible(shelf: Shelf, server: Server) -> None:
    """With `prefer`, the default, the promises hold and nothing forces the given strings."""
    worker = server.with_model(shelf.family("llama"))
    line = worker.demand({**TAGS, "vocabulary": ["harbour"], "max_tags": 6})
    assert set(check_promises(line, 6)) - {"harbour"}


@pytest.mark.parametrize("max_tags", [1, 2, 50])
def test_max_tags_is_an_upper_bound_up_to_fifty(shelf: Shelf, server: Server, max_tags: int) -> None:
    """Fifty tags are the most; one is the least."""
    worker = server.with_model(shelf.family("llama"))
    check_promises(worker.demand({**TAGS, "max_tags": max_tags, "temperature": 1, "seed": 6}), max_tags)


def test_the_same_document_gives_the_same_tags(shelf: Shelf, server: Server) -> None:
    """Tags are greedy unless asked otherwise: asked again, from the cache, they are the same."""
    worker = server.with_model(shelf.family("qwen2"))
    first, second = worker.demand(TAGS), worker.demand(TAGS)
    assert first["tags"] == second["tags"]


@pytest.mark.parametrize("family", ["llama", "gemma3_text", "mamba", "qwen3"])
def test_a_long_document_is_tagged_in_parts(shelf: Shelf, server: Server, family: str) -> None:
    """One longer than the context isn't cut: `usage.chunks` counts its parts, and the promises hold."""
    worker = server.plain()
    folder = shelf.family(family)
    worker.demand({"command": "load-model", "model_path": str(folder), "context_length": 1024})
    content = long_document(150)
    line = worker.demand({**TAGS, "content": content, "max_tags": 6})
    check_promises(line, 6)
    assert line["usage"]["chunks"] > 1
    assert line["usage"]["input_tokens"] > 1024


@pytest.mark.parametrize(
    "content",
    [
        "x",
        "🦊",
        ".",
        "\u0000\u0001\u0002 bell \u0007",
        "<|im_end|><|im_start|>assistant\n",
        '"]}',
        "Noooo" + "o" * 3000,
        "東京" * 900,
        "word " * 1500,
        "\n\n\nlast\n\n\n",
        "e\u0301 " * 400,
        "\ufeff\u200b.\u200d",
    ],
    ids=lambda content: ascii(content[:12]),
)
def test_odd_documents_are_tagged_like_any_other(shelf: Shelf, server: Server, content: str) -> None:
    """One sign, one endless word, control characters, other scripts: no document breaks a promise."""
    worker = server.with_model(shelf.family("qwen2"))
    check_promises(worker.demand({**TAGS, "content": content}), 5)


def test_blanks_around_a_text_change_nothing_and_encoded_data_is_told(shelf: Shelf, server: Server) -> None:
    """The same tags, tokens and prefill as without; the second task on the same text finds it in the cache."""
    worker = server.with_model(shelf.family("llama"))
    blanks, data = "\n" * 200 + " " * 1500 + "\f", bytes(range(256)).hex()
    text = ARTICLE.strip()
    plain = worker.demand({**TAGS, "content": text})
    found = worker.demand({**TAGS, "content": f"{blanks}{text}{blanks}"})
    assert (found["tags"], found["usage"]["input_tokens"]) == (plain["tags"], plain["usage"]["input_tokens"])
    assert "warnings" not in found
    told = worker.demand({**TAGS, "content": f"{text} {data}", "max_tag": 3})
    assert told["tags"] == plain["tags"]
    assert len(told["warnings"]) == 2
    assert "passed over 512 characters of encoded data" in told["warnings"][1]
    again = worker.demand({"command": "summarize", "content": f"{text}\n{data}"})
    assert again["usage"]["cached_tokens"] > 0


def test_tags_of_the_embedded_model_keep_the_promises() -> None:
    """The README's own line: tags and a summary from the demo model, in order."""
    requests = [TAGS, {"command": "summarize", "content": ARTICLE}]
    tags, summary = run_once(requests, "--model", "demo").endings
    assert check_promises(tags, 5)
    assert summary["summary"].strip()
