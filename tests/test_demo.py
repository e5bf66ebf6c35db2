"""The embedded model: within its size, readable by mlx-lm alone, and saying what the README says it does."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from mlx_lm import generate, load

from tests.support.worker import run_once

REPOSITORY = Path(__file__).resolve().parent.parent
DEMO = REPOSITORY / "mlx_sidecar" / "demo"
MOST_BYTES = 12_000_000


@pytest.fixture(scope="module")
def readme() -> str:
    """The README as it stands."""
    return (REPOSITORY / "README.md").read_text(encoding="utf-8")


def requests_in(readme: str) -> list[dict[str, Any]]:
    """What the README's first command pipes into the worker."""
    command = next(line for line in readme.splitlines() if line.endswith("mlx-sidecar --model demo"))
    return [json.loads(request) for request in re.findall(r"'(\{.*?\})'", command)]


def answer_in(readme: str, field: str) -> Any:
    """What the README shows as this field of an answer."""
    shown = re.search(rf'^ +\{{"type":"response",.*?"{field}":(.+), …\}}$', readme, re.M)
    assert shown
    return json.loads(shown[1])


def test_it_is_within_its_size() -> None:
    """Everything in the folder counts, for everything goes into the wheel."""
    assert sum(path.stat().st_size for path in DEMO.iterdir()) <= MOST_BYTES


def test_the_worker_answers_the_readme_with_the_readmes_answers(readme: str) -> None:
    """The main job's own line, read out of the README."""
    tags, summary = run_once(requests_in(readme), "--model", "demo").endings
    assert tags["tags"] == answer_in(readme, "tags")
    assert summary["summary"] == answer_in(readme, "summary")


def test_mlx_lm_alone_reads_it_and_says_the_same(readme: str) -> None:
    """Nothing in the worker knows that it is the demo: the plain library gets the same summary from the same words."""
    model, tokenizer = load(str(DEMO))[:2]
    document = requests_in(readme)[1]["content"]
    instruction = "Summarize the document in one sentence. Write only that sentence."
    message = {"role": "user", "content": f"<document>\n{document}\n</document>\n\n{instruction}"}
    prompt = tokenizer.apply_chat_template([message], add_generation_prompt=True)
    assert generate(model, tokenizer, prompt, max_tokens=100).strip() == answer_in(readme, "summary")
