"""Greedy text is mlx-lm's own, token for token, for every family, alone and in a batch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import mlx_lm
import pytest

from tests.support.models import FAMILIES, PRECISIONS, Shelf
from tests.support.texts import ARTICLE
from tests.support.worker import Line, Server, Worker

PROMPTS = (
    "Hello",
    "Write one sentence about rivers, bread and the sea.",
    "Ünïcode, 東京 🦊 naïve café?",
    "line one\nline two\n\n- a\n- b\n\n\tend",
    ARTICLE.strip(),
)
MAX_TOKENS = 32


@dataclass(frozen=True)
class Text:
    """What a generation gave, as far as both sides say it."""

    text: str
    finish_reason: str
    input_tokens: int


@cache
def reference(folder: Path, adapter: Path | None = None) -> Any:
    """The model and tokenizer as mlx-lm loads them."""
    return mlx_lm.load(
        str(folder),
        tokenizer_config={"trust_remote_code": False},
        adapter_path=None if adapter is None else str(adapter),
    )


def expected(
    folder: Path, prompt: str, adapter: Path | None = None, max_tokens: int = MAX_TOKENS, **template: Any
) -> Text:
    """mlx-lm's own greedy answer: the prompt as one user message if there is a template, else as it is."""
    model, tokenizer = reference(folder, adapter)
    tokens: Any = prompt
    if tokenizer.has_chat_template:
        messages = [{"role": "user", "content": prompt}]
        # The worker's default: a model that could think aloud is asked not to.
        tokens = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, **({"enable_thinking": False} | template)
        )
    *_, last = (parts := list(mlx_lm.stream_generate(model, tokenizer, tokens, max_tokens=max_tokens)))
    # mlx-lm's detokenizer takes byte 0 for "no byte" and shows the sign that stands for it in a vocabulary.
    text = "".join(part.text for part in parts).replace("\u0100", "\0")
    return Text(text, last.finish_reason, last.prompt_tokens)


def request(prompt: str, **fields: Any) -> dict[str, Any]:
    """The same as a request."""
    return {"command": "generate", "prompt": prompt, "max_tokens": MAX_TOKENS, "temperature": 0, **fields}


def said(line: Line) -> Text:
    """What a response says."""
    assert line["type"] == "response", line
    return Text(line["text"], line["finish_reason"], line["usage"]["input_tokens"])


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_text_equals_mlx_lm(shelf: Shelf, server: Server, family: str, precision: str) -> None:
    """One after the other, then all together, then again from the cache: always the text that mlx-lm writes."""
    folder = shelf.family(family, precision)
    worker = server.with_model(folder)
    wanted = [expected(folder, prompt) for prompt in PROMPTS]
    assert len({text.text for text in wanted}) > 1
    assert [said(worker.ask(request(prompt))) for prompt in PROMPTS] == wanted
    together = worker.ask_all([request(prompt, id=n) for n, prompt in enumerate(PROMPTS)])
    assert [said(line) for line in together] == wanted


@pytest.mark.parametrize("family", FAMILIES)
def test_joining_a_running_batch_changes_no_text(shelf: Shelf, family: str) -> None:
    """Requests that arrive while others decode get mlx-lm's text, and so do those that they join."""
    folder = shelf.family(family)
    with Worker("--model", str(folder), "--prefix-cache-bytes", "0") as worker:
        for n, prompt in enumerate(PROMPTS):
            worker.send(request(prompt, id=n, stream=True))
            worker.read_until(n, "progress")
        lines = [worker.ending(n) for n in range(len(PROMPTS))]
        deltas = ["".join(x["delta"] for x in worker.progress(n)) for n in range(len(PROMPTS))]
    wanted = [expected(folder, prompt) for prompt in PROMPTS]
    assert [said(line) for line in lines] == wanted
    assert deltas == [text.text for text in wanted]


@pytest.mark.parametrize("family", ["llama", "gemma3_text", "mamba"])
def test_a_long_prompt_equals_mlx_lm(shelf: Shelf, server: Server, family: str) -> None:
    """A prompt of many prefill pieces, and one that continues it from the cache."""
    folder = shelf.family(family)
    worker = server.with_model(folder)
    long = ARTICLE * 2 + "And what then?"
    prompts = [long, long + " Why?", long]
    assert [said(worker.ask(request(prompt))) for prompt in prompts] == [expected(folder, p) for p in prompts]


@pytest.mark.parametrize("tokenizer", ["inst", "plain", "plain_bos", "phi3", "gemma", "chatml"])
def test_every_kind_of_tokenizer_equals_mlx_lm(shelf: Shelf, server: Server, tokenizer: str) -> None:
    """Templates with and without seams that change how the text beside them is cut, and raw prompts with a BOS."""
    folder = shelf.family("llama", tokenizer=tokenizer)
    worker = server.with_model(folder)
    assert [said(worker.ask(request(prompt))) for prompt in PROMPTS] == [expected(folder, p) for p in PROMPTS]


@pytest.mark.parametrize("tokenizer", ["llama3", "gemma", "phi3", "inst", "chatml", "plain"])
def test_white_space_around_a_prompt_equals_mlx_lm(shelf: Shelf, server: Server, tokenizer: str) -> None:
    """Some templates trim a message and some don't; blanks at a seam may join the template's own."""
    folder = shelf.family("llama", tokenizer=tokenizer)
    worker = server.with_model(folder)
    prompts = ["  two blanks before", "a newline after\n", "\n\nboth \n \n", "{{ not jinja }} {% nor this %}"]
    assert [said(worker.ask(request(prompt))) for prompt in prompts] == [expected(folder, p) for p in prompts]


def test_thinking_text_equals_mlx_lm(shelf: Shelf, server: Server) -> None:
    """With `thinking` on the prompt is the template's thinking one; reasoning and text together are what came."""
    folder = shelf.family("qwen3")
    worker = server.with_model(folder)
    line = worker.demand(request("Hello", thinking=True))
    wanted = expected(folder, "Hello", enable_thinking=True)
    assert line["usage"]["input_tokens"] == wanted.input_tokens


def test_an_adapter_changes_the_text_as_it_does_in_mlx_lm(shelf: Shelf) -> None:
    """A LoRA adapter is applied at load and gone with the next load."""
    folder = shelf.family("llama")
    adapter = shelf.adapter(folder)
    load = {"command": "load-model", "model_path": str(folder)}
    with Worker() as worker:
        worker.demand({**load, "adapter_path": str(adapter)})
        adapted = said(worker.ask(request("Hello")))
        worker.demand(load)
        plain = said(worker.ask(request("Hello")))
    assert (adapted, plain) == (expected(folder, "Hello", adapter), expected(folder, "Hello"))
    assert adapted.text != plain.text
