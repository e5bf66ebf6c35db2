"""What a system answered, and how to read tags out of a free answer as a lenient program would."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

_FENCE = re.compile(r"^\s*```\w*\s*$", re.MULTILINE)
_BULLET = re.compile(r"^\s*(?:[-*•‣·–—]|\d{1,2}[.)、:]|#(?=\w))\s*")
_LEAD = re.compile(r"^[^\n:]{0,80}\b(?:tags?|keywords?|topics?)\b[^\n:]{0,40}[:：]\s*", re.IGNORECASE)
_AROUND = " \t\"'`“”‘’«»「」*[](){}"


@dataclass(frozen=True)
class Answer:
    """One task on one document."""

    document: str
    task: str
    text: str
    """What the system said, to the letter."""
    tags: tuple[str, ...] = ()
    usage: dict[str, int] = field(default_factory=dict)
    error: str | None = None

    def as_json(self) -> dict[str, Any]:
        """For the file of the run."""
        return {name: value for name, value in asdict(self).items() if value not in (None, (), {})}


def from_json(read: dict[str, Any]) -> Answer:
    """The reverse of `as_json`."""
    return Answer(**{**read, "tags": tuple(read.get("tags", ()))})


def tags_in(text: str) -> tuple[str, ...]:
    """The tags of an answer: JSON wherever it stands, else what stands between commas or on lines."""
    for value in _json_in(text):
        found = _strings(value)
        if found:
            return tuple(found)
    bare = _LEAD.sub("", _FENCE.sub("", text).strip())
    lines = [line for line in bare.splitlines() if line.strip()]
    parts = lines if len(lines) > 1 and not any("," in line for line in lines) else re.split(r"[,，、;\n]", bare)
    cleaned = (_BULLET.sub("", part).strip(_AROUND) for part in parts)
    return tuple(tag for tag in cleaned if tag)


def _json_in(text: str) -> Iterator[Any]:
    """Every JSON object or list that can be read from somewhere in the text on."""
    decoder = json.JSONDecoder()
    for begin in re.finditer(r"[\[{]", text):
        try:
            yield decoder.raw_decode(text, begin.start())[0]
        except json.JSONDecodeError:
            continue


def _strings(value: Any) -> list[str]:
    """The strings of a list, or of an object's `tags` or whatever list it has first."""
    if isinstance(value, dict):
        lists = [value["tags"]] if "tags" in value else [one for one in value.values() if isinstance(one, list)]
        if lists and isinstance(lists[0], str):
            return [tag.strip() for tag in lists[0].split(",") if tag.strip()]
        return _strings(lists[0]) if lists else []
    if isinstance(value, list):
        return [one.strip() for one in value if isinstance(one, str) and one.strip()]
    return []
