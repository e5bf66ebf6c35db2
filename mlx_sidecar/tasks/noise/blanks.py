"""Rows of blanks of any kind, invisible characters and control characters."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mlx_sidecar.control_characters import CONTROLS_BUT_BLANKS, FLAG, HIDDEN, TAGS
from mlx_sidecar.tasks.condensed import Cut
from mlx_sidecar.tasks.noise.rule import INVISIBLE, Bounds, blocks
from mlx_sidecar.tasks.task import Pause

_MOST_INVISIBLE = 4
_HIDDEN_TAGS = rf"(?<![{FLAG}{TAGS}])[{TAGS}]+"
_LONG_BLANKS = re.compile(
    rf"[\s{INVISIBLE}]{{2,}}|[\v\f\x1c-\x1e\x85\u2028\u2029]|[{CONTROLS_BUT_BLANKS}]+|[{HIDDEN}]|{_HIDDEN_TAGS}"
)
_HIDDEN = re.compile(rf"[{HIDDEN}{TAGS}]")
_MOST_LOOKED_AT = 512
_LINE_BREAK = re.compile(r"\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
_ODD_LINE_BREAK = re.compile(r"[\v\f\x1c-\x1e\x85\u2028\u2029]")
_CONTROL = re.compile(rf"[{CONTROLS_BUT_BLANKS}]")
_ODD_BLANK = re.compile(r"[^ \t\r\n\u00a0\u202f\u3000]")
_MOST_LINE_BREAKS = 2
_PUT_FOR_GAP, _PUT_FOR_INDENT = 2, 8


def blank_rows(text: str, bounds: Bounds) -> Iterator[Cut | Pause]:
    """Long rows of blanks, of whatever kind, control characters, and hidden ones, which divide words and hide texts."""
    for block in blocks(text):
        if block[0]:
            yield Pause()
        for found in _LONG_BLANKS.finditer(text, *block):
            start, end = found.span()
            run = _both_ends(found[0])
            put = _shortened(_HIDDEN.sub("", run), bounds)
            if put != run:
                yield Cut(start, end, put="" if start == 0 or end == len(text) else put)


def _both_ends(run: str) -> str:
    """Of very many blanks, those at both ends tell enough."""
    return run if len(run) <= 2 * _MOST_LOOKED_AT else run[:_MOST_LOOKED_AT] + run[-_MOST_LOOKED_AT:]


def edges(text: str) -> list[Cut]:
    """What is blank around the text."""
    start, end = len(text) - len(text.lstrip()), len(text.rstrip())
    return [Cut(*each) for each in ((0, start), (end, len(text))) if each[0] < each[1]] if start < end else []


def _shortened(run: str, bounds: Bounds) -> str:
    breaks = [found.end() for found in _LINE_BREAK.finditer(run)]
    if not breaks:
        return _gap(run, bounds)
    head, indent = run[: breaks[-1]], run[breaks[-1] :]
    longest = max(map(len, _LINE_BREAK.split(head)))
    if len(breaks) > _MOST_LINE_BREAKS or _ODD_LINE_BREAK.search(head) or longest > bounds.gap:
        head = "\n" * min(len(breaks), _MOST_LINE_BREAKS)
    return head + _indent(indent, bounds)


def _gap(run: str, bounds: Bounds) -> str:
    if not any(map(str.isspace, run)):
        return "" if len(run) > _MOST_INVISIBLE or _CONTROL.match(run) else run
    odd = len(_ODD_BLANK.findall(run))
    return run if len(run) <= bounds.gap and odd <= _MOST_INVISIBLE else " " * _PUT_FOR_GAP


def _indent(run: str, bounds: Bounds) -> str:
    odd = len(_ODD_BLANK.findall(run))
    return run if len(run) <= bounds.indent and odd <= _MOST_INVISIBLE else " " * min(_PUT_FOR_INDENT, len(run))
