"""Regular expressions of schemas, as llguidance reads them."""

from __future__ import annotations

import json
import re
from functools import lru_cache

import numpy as np
from llguidance import LLMatcher, LLTokenizer

_IN_A_CLASS = re.compile(r"\\.|\[|&&|~~|\]|.", re.DOTALL)
_OUTSIDE = re.compile(r"\\.|\[\^?\]?|.", re.DOTALL)


@lru_cache(maxsize=512)
def in_one_dialect(pattern: str) -> str:
    """The same expression with nothing in it that Rust alone takes for an operator: `[`, `&&` and `~~` within a class.

    ECMA-262 and Python have neither classes in classes (`[[:alpha:]]`) nor intersections.
    """
    written, at, is_class = list[str](), 0, False
    while found := (_IN_A_CLASS if is_class else _OUTSIDE).match(pattern, at):
        part, at = found[0], found.end()
        if is_class:
            is_class = part != "]"
            part = "".join(f"\\{sign}" for sign in part) if part in {"[", "&&", "~~"} else part
        else:
            is_class = part[0] == "["
        written.append(part)
    return "".join(written)


@lru_cache(maxsize=512)
def is_regex(pattern: str) -> bool:
    """Whether llguidance can compile it."""
    return problem(pattern) is None


@lru_cache(maxsize=512)
def problem(pattern: str) -> str | None:
    """What llguidance has against it."""
    found = LLMatcher.validate_grammar(_grammar({"type": "string", "pattern": pattern}))
    return found or None


@lru_cache(maxsize=512)
def unreadable(pattern: str) -> str | None:
    """Why it is no regular expression for anybody: what llguidance can't compile, `regex` may still match."""
    import regex

    try:
        regex.compile(pattern)
    except (regex.error, RecursionError, OverflowError) as problem:
        return str(problem)[:200] or "it is nested too deep"
    return None


@lru_cache(maxsize=4096)
def matches(pattern: str, text: str) -> bool | None:
    """Whether a text has a match in it. None where that can't be told."""
    found = LLMatcher.validate_grammar(_grammar({"allOf": [{"const": text}, {"type": "string", "pattern": pattern}]}))
    if not found:
        return True
    return False if "Unsatisfiable" in found else None


_MOST_STEPS, _MOST_BYTES = 1_000, 200


def escaped(text: str) -> str:
    """An expression that matches this text alone."""
    return re.sub(r"[\\.+*?()|\[\]{}^$#&~-]", r"\\\g<0>", text)


@lru_cache(maxsize=512)
def texts_of(pattern: str, most: int = 64) -> tuple[str, ...] | None:
    """All texts that have a match in it, if they are few."""
    root = LLMatcher(_bytes(), _grammar({"type": "string", "pattern": pattern}), log_level=0)
    waiting, found = [(root, b"")], list[str]()
    for _ in range(_MOST_STEPS):
        if not waiting:
            return tuple(found)
        matcher, raw = waiting.pop()
        if matcher.is_error() or len(raw) > _MOST_BYTES or len(found) + len(waiting) > 2 * most:
            return None
        if matcher.is_stopped():
            found.append(json.loads(raw))
            continue
        allowed = np.frombuffer(matcher.compute_bitmask(), dtype=np.uint8)
        for byte in np.flatnonzero(np.unpackbits(allowed, bitorder="little")[:256])[::-1].tolist():
            ahead = matcher.deep_copy()
            ahead.consume_token(byte)
            waiting.append((ahead, raw + bytes([byte])))
    return None


def is_compilable(grammar: str) -> bool:
    """Whether something can be written by it, on a vocabulary of the 256 bytes."""
    matcher = LLMatcher(_bytes(), grammar, log_level=0)
    if not matcher.is_error():
        matcher.compute_bitmask()
    return not matcher.is_error()


@lru_cache(maxsize=1)
def _bytes() -> LLTokenizer:
    """A vocabulary of the 256 bytes."""
    return LLTokenizer("byte")


def _grammar(schema: object) -> str:
    return str(LLMatcher.grammar_from_json_schema(json.dumps(schema)))
