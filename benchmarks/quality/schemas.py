"""What answers under a schema are worth: `python -m benchmarks.quality.schemas --model DIR [--preload BLAS]`.

`data/schemas.json` has 40 schemas as pydantic and zod write them, each with a request in plain words and the values
that a right answer has. Each request is asked greedily in four ways: held to its schema; without it, with "Answer with
JSON only"; held to it and shown it in the prompt; only shown it, with "Answer with JSON only". Where it isn't held, the
first JSON value in the text counts, whatever stands around it.

The table gives, of all answers: those that ended by themselves; those that are JSON, obey the schema and have no names
but those it gives (where it says that there may be others, any); the share of fields that have the right value; and the
share of tokens at which the schema forbade what the model would have taken.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from benchmarks.child import Line
from benchmarks.worker import Request, Worker

DATA = Path(__file__).parent / "data" / "schemas.json"
HELD, WORDS, HELD_AND_SHOWN, SHOWN = "held", "words", "held-shown", "shown"
WAYS = {
    HELD: "held to the schema",
    WORDS: "without it, JSON only",
    HELD_AND_SHOWN: "held to it and shown it",
    SHOWN: "shown it, JSON only",
}


@dataclass(frozen=True)
class Case:
    """One schema, with a request and the answer that it has."""

    id: str
    producer: str
    schema: dict[str, Any]
    prompt: str
    expected: Any


@dataclass(frozen=True)
class Scores:
    """Shares of all answers, of all fields, and of all tokens; the last is None where nothing was held."""

    ended: float
    valid: float
    fields: float
    overruled: float | None


def cases() -> list[Case]:
    """All of them."""
    return [Case(**each) for each in json.loads(DATA.read_text(encoding="utf-8"))]


def main() -> None:
    """Ask in each way, and print its row as soon as it is there."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality.schemas", description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="a folder with a model")
    parser.add_argument("--preload", help="a BLAS to preload on Linux, such as libopenblas.so.0")
    parser.add_argument("--max-tokens", type=int, default=120)
    parser.add_argument("--ways", default=",".join(WAYS), help=f"comma-separated, of {', '.join(WAYS)}")
    parser.add_argument("--answers", type=Path, help="a file for the answers, one JSON object a line")
    wanted = parser.parse_args()
    print(f"| {wanted.model.name} | ended | valid and closed | fields right | overruled |")
    print("| --- | --- | --- | --- | --- |", flush=True)
    with Worker(wanted.model, wanted.preload) as worker:
        for way in wanted.ways.split(","):
            asked = [request(case, way, wanted.max_tokens) for case in cases()]
            lines = [answered.line for answered in worker.answer(asked)]
            found = scores(cases(), lines, way)
            overruled = "–" if found.overruled is None else f"{found.overruled:.1%}"
            shares = f"{found.ended:.0%} | {found.valid:.0%} | {found.fields:.0%} | {overruled}"
            print(f"| {WAYS[way]} | {shares} |", flush=True)
            if wanted.answers:
                _keep(wanted.answers, way, lines)


def request(case: Case, way: str, max_tokens: int) -> Request:
    """What the worker is asked."""
    shown = "" if way in (HELD, WORDS) else f"\n\nThe answer is JSON that obeys this schema:\n{json.dumps(case.schema)}"
    only = "\n\nAnswer with JSON only." if way in (WORDS, SHOWN) else ""
    held = {} if way in (WORDS, SHOWN) else {"schema": case.schema}
    return {
        "command": "generate",
        "prompt": f"{case.prompt}{shown}{only}",
        "temperature": 0,
        "max_tokens": max_tokens,
        **held,
    }


def scores(asked: list[Case], lines: list[Line], way: str) -> Scores:
    """How good the answers are."""
    values = [_first_value(line.get("text", "")) if way in (WORDS, SHOWN) else line.get("json") for line in lines]
    ended = [line.get("finish_reason") == "stop" for line in lines]
    valid = [is_valid(case.schema, value) for case, value in zip(asked, values, strict=True)]
    fields = [share_right(case.expected, value) for case, value in zip(asked, values, strict=True)]
    count = len(asked)
    return Scores(sum(ended) / count, sum(valid) / count, sum(fields) / count, _overruled(lines))


def _overruled(lines: list[Line]) -> float | None:
    used = [line["usage"] for line in lines if "overruled_tokens" in line.get("usage", {})]
    if not used:
        return None
    overruled: int = sum(usage["overruled_tokens"] for usage in used)
    tokens: int = sum(usage["output_tokens"] for usage in used)
    return overruled / tokens


def is_valid(schema: dict[str, Any], value: Any) -> bool:
    """Whether the value obeys the schema, and its objects have no names but those that the schema gives.

    A schema with `additionalProperties` that isn't false gives names that stand nowhere.
    """
    if value is None or not Draft202012Validator(schema).is_valid(value):
        return False
    return _is_open(schema) or _names(value) <= _known(schema)


def share_right(expected: Any, value: Any) -> float:
    """The share of the expected values that are there, at their places. Case and blanks around a text don't count."""
    wanted, found = dict(_leaves(expected)), dict(_leaves(value))
    return sum(path in found and _same(found[path], each) for path, each in wanted.items()) / len(wanted)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, str) and isinstance(other, str):
        return one.strip().casefold() == other.strip().casefold()
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def _leaves(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Each value that is neither an object nor a list, and where it stands; an empty one of these as well."""
    if isinstance(value, (dict, list)) and value:
        for step, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _leaves(inner, (*path, step))
    else:
        yield path, value


def _first_value(text: str) -> Any:
    """The first JSON object or list in a text."""
    decoder = json.JSONDecoder()
    for place, character in enumerate(text):
        if character in "{[":
            try:
                return decoder.raw_decode(text, place)[0]
            except ValueError:
                continue
    return None


def _is_open(schema: Any) -> bool:
    if isinstance(schema, dict):
        says = schema.get("additionalProperties", False) is not False
        return says or any(map(_is_open, schema.values()))
    return isinstance(schema, list) and any(map(_is_open, schema))


def _names(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value).union(*map(_names, value.values()))
    return set[str]().union(*map(_names, value)) if isinstance(value, list) else set()


def _known(schema: Any) -> set[str]:
    if isinstance(schema, dict):
        return set(schema).union(*map(_known, schema.values()))
    if isinstance(schema, list):
        return set[str]().union(*map(_known, schema))
    return {schema} if isinstance(schema, str) else set()


def _keep(file: Path, way: str, lines: list[Line]) -> None:
    with file.open("a", encoding="utf-8") as kept:
        for case, line in zip(cases(), lines, strict=True):
            kept.write(
                json.dumps({"way": way, "id": case.id, "text": line.get("text"), "expected": case.expected}) + "\n"
            )


if __name__ == "__main__":
    main()
