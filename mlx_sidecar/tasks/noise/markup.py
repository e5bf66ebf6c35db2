"""Markup around nothing: rows of tags and entities between which no text stands."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mlx_sidecar.tasks.condensed import Cut
from mlx_sidecar.tasks.noise.rule import Bounds, blocks
from mlx_sidecar.tasks.task import Pause

_MARKUP = "markup without text"
_MARK = r"</?[A-Za-z][A-Za-z0-9]{0,15}\s?/?>|&(?:nbsp|ensp|emsp|thinsp|zwnj|zwj|shy|#160|#x[aA]0);"
_ROW = re.compile(rf"(?:{_MARK})(?:\s*(?:{_MARK}))+")
_MOST_CHARS = 160
"""What closes the elements of a deeply nested page is shorter. Tags with attributes say something, so they stay."""


def empty_markup(text: str, _: Bounds) -> Iterator[Cut | Pause]:
    """Rows of tags without attributes."""
    for start, end in blocks(text):
        if start:
            yield Pause()
        for found in _ROW.finditer(text, start, end):
            if len(found[0]) > _MOST_CHARS:
                yield Cut(*found.span(), kind=_MARKUP)
