"""How many tokens a text or a conversation has."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from mlx_sidecar.engine.job import LanguageModel, Turn
from mlx_sidecar.protocol.requests import CountTokens
from mlx_sidecar.protocol.responses import TokenCount
from mlx_sidecar.tasks.conversation import conversation
from mlx_sidecar.tasks.count import CONVERSATION_CHARS_AT_ONCE, Counter
from mlx_sidecar.tasks.task import Task

_PLACEHOLDER = "x"


def count_tokens(request: CountTokens, model: LanguageModel) -> Task:
    """The tokens of the text, or of the prompt that `generate` would make of the messages."""
    counter = Counter(model.count)
    if request.messages is None:
        tokens = yield from counter.all(request.text or "")
        return TokenCount(tokens=tokens)
    turns = conversation(request.messages, request.system, model)
    if sum(len(turn.content) for turn in turns) <= CONVERSATION_CHARS_AT_ONCE:
        return TokenCount(tokens=len(model.render(turns, raw=True)))
    tokens = _around(turns, model)
    for turn in turns:
        tokens += yield from counter.all(turn.content)
    return TokenCount(tokens=tokens)


def _around(turns: Sequence[Turn], model: LanguageModel) -> int:
    """The tokens that the chat template puts around the contents."""
    empty = [replace(turn, content=_PLACEHOLDER, reusable_chars=()) for turn in turns]
    return len(model.render(empty, raw=True)) - len(turns) * model.count(_PLACEHOLDER)
