"""Transcripts: what is sent and what must come back, read from the files in `transcripts`."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Step = dict[str, Any]

FOLDER = Path(__file__).parent / "transcripts"
STEPS = ("send", "bytes", "close", "ignore", "signal", "kill", "expect", "expect_unordered", "progress", "exit")
_MODIFIERS = {"times", "stderr", "within_s", "until_it_ends"}
_FIELDS = {"name", "rule", "steps", "flags", "optional_flags", "files", "needs_model", "has_parent"}


@dataclass(frozen=True)
class Transcript:
    """One conversation, and the rule that it shows."""

    name: str
    rule: str
    steps: tuple[Step, ...]
    flags: tuple[str, ...] = ()
    optional_flags: tuple[str, ...] = ()
    """Flags that a worker needn't have."""
    files: dict[str, str] = field(default_factory=dict)
    """What lies in the folder that `{empty}` stands for: not that empty then."""
    needs_model: bool = False
    has_parent: bool = False
    """Whether another process starts the worker, which can be killed."""


def read_all(folder: Path = FOLDER) -> list[Transcript]:
    """Every transcript, named by its file and its own name. Raises ValueError where one can't be read."""
    found = []
    for file in sorted(folder.glob("*.json")):
        found += [_read(file.stem, entry) for entry in json.loads(file.read_text(encoding="utf-8"))]
    return found


def _read(subject: str, entry: dict[str, Any]) -> Transcript:
    name = f"{subject}/{entry.get('name')}"
    if unknown := entry.keys() - _FIELDS:
        raise ValueError(f"{name}: unknown {sorted(unknown)}")
    for step in entry["steps"]:
        if sum(kind in step for kind in STEPS) != 1 or step.keys() - {*STEPS, *_MODIFIERS}:
            raise ValueError(f"{name}: no such step: {step}")
    lists: dict[str, Any] = {key: tuple(entry[key]) for key in ("steps", "flags", "optional_flags") if key in entry}
    return Transcript(**{**entry, **lists, "name": name})


def kind_of(step: Step) -> str:
    """What a step does: one of STEPS."""
    return next(kind for kind in STEPS if kind in step)


def filled(value: Any, places: dict[str, str]) -> Any:
    """A value with what `{model}` and `{empty}` stand for, in all its strings."""
    if isinstance(value, str):
        for name, text in places.items():
            value = value.replace(f"{{{name}}}", text)
        return value
    if isinstance(value, list):
        return [filled(item, places) for item in value]
    if isinstance(value, dict):
        return {name: filled(item, places) for name, item in value.items()}
    return value
