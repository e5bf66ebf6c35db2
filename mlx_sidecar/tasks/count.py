"""Counts the tokens of long texts without holding up the loop."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator

from mlx_sidecar.tasks.task import Pause

CONVERSATION_CHARS_AT_ONCE = 64 * 1024
"""A conversation of so many is rendered and tokenized in one go; megabytes would hold up the loop for seconds."""

_CHARS_AT_ONCE = 16 * 1024
"""So many are counted in one call, and between two pauses."""


class Counter:
    """Counts pieces of texts, with a pause between them. Where a text is cut for it a token more may come out."""

    def __init__(self, count: Callable[[str], int]) -> None:
        self._count, self._since_pause = count, 0

    def beginning(self, text: str, most: int) -> Generator[Pause, object, tuple[int, int]]:
        """Tokens and characters of the text up to where it has more than `most` tokens; of all of it if it hasn't."""
        tokens = at = 0
        while at < len(text) and tokens <= most:
            piece = text[at : at + _CHARS_AT_ONCE]
            self._since_pause += len(piece)
            if self._since_pause > _CHARS_AT_ONCE:
                yield Pause()
                self._since_pause = len(piece)
            tokens += self._count(piece)
            at += len(piece)
        return tokens, at

    def all(self, text: str) -> Generator[Pause, object, int]:
        """Tokens of the whole text."""
        tokens, _ = yield from self.beginning(text, sys.maxsize)
        return tokens
