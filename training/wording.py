"""The words that the embedded model is trained on: those of its folder, which the worker asks it with."""

from __future__ import annotations

import json
from pathlib import Path

import mlx_sidecar
from mlx_sidecar.tasks import prompts

_FILE = Path(mlx_sidecar.__file__).parent / "demo" / prompts.FILE
WORDS = prompts.task_prompts(json.loads(_FILE.read_text(encoding="utf-8")))


def tags_instruction(max_tags: int) -> str:
    """Ask for tags."""
    return prompts.tags_instruction(WORDS.tags, max_tags, 3)


def summary_instruction(style: prompts.Style, *, max_words: int | None = None) -> str:
    """Ask for a summary in one of the three styles."""
    return prompts.summary_instruction(WORDS.summary, style, max_words=max_words)


def with_document(content: str, instruction: str) -> str:
    """The user's turn."""
    return prompts.document_text(WORDS, content, instruction)[0]
