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
_COMMA = re.compile(r",(?!\d)|[，、;\n]")
_QUOTED = re.compile(r'"([^"\n]*)"(\s*:)?')
_HASHED = re.compile(r"#(\w[\w-]*)")
_NAMES = ("name", "tag", "value", "tags")
"""Fields in which models put a tag that they make an object of."""
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


def tags_in(text: str, most: int) -> tuple[str, ...]:
    """The first tags of an answer: of JSON wherever it stands, broken or not, else of commas or lines."""
    for value in _json_in(text):
        if found := _strings(value):
            return tuple(found[:most])
    bare = _LEAD.sub("", _FENCE.sub("", text).strip())
    if re.match(r"[\[{]", bare):
        values = [one for one, colon in _QUOTED.findall(bare) if one.strip() and not colon]
        return tuple([one for one in values if one.lower() not in _NAMES][:most])
    cleaned = (_BULLET.sub("", part).strip(_AROUND) for part in _parts(bare))
    return tuple([tag for tag in cleaned if tag][:most])


def _parts(text: str) -> list[str]:
    """The points of a list if there is one, else what commas divide, else lines."""
    lines = [line for line in text.splitlines() if line.strip()]
    points = [line for line in lines if _BULLET.match(line)]
    if len(points) > 1:
        return points
    if len(hashed := _HASHED.findall(text)) > 1 and "," not in text:
        return hashed
    return lines if len(lines) > 1 and "," not in text else _COMMA.split(text)


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
        named = [_name(one) for one in value]
        return [one for one in named if one]
    return []


def _name(value: Any) -> str:
    """A tag, also where it is an object with a name."""
    if isinstance(value, dict):
        return next((_name(value[field]) for field in _NAMES if isinstance(value.get(field), str)), "")
    return value.strip() if isinstance(value, str) else ""
