"""The words that the embedded model is trained on: those of its folder, which the worker asks it with."""

from __future__ import annotations

import json
from pathlib import Path

import mlx_sidecar
from mlx_sidecar.tasks import prompts
from mlx_sidecar.tasks.wording import FILE, Style, task_prompts

WORDS = task_prompts(json.loads((Path(mlx_sidecar.__file__).parent / "demo" / FILE).read_text(encoding="utf-8")))


def tags_instruction(max_tags: int) -> str:
    """Ask for tags."""
    return prompts.tags_instruction(WORDS.tags, prompts.TagsWanted(max_tags))


def summary_instruction(style: Style, *, max_words: int | None = None) -> str:
    """Ask for a summary in one of the three styles."""
    return prompts.summary_instruction(WORDS.summary, prompts.SummaryWanted(style, max_words))


def with_document(content: str, instruction: str) -> str:
    """The user's turn."""
    return prompts.document_text(WORDS, content, instruction)[0]
