"""The messages of a request as turns for the model."""

from __future__ import annotations

from collections.abc import Sequence

from mlx_sidecar.engine.job import LanguageModel, Turn
from mlx_sidecar.errors import InvalidParams
from mlx_sidecar.protocol.requests import Message


def conversation(messages: Sequence[Message], system: str | None, model: LanguageModel) -> list[Turn]:
    """The turns of these messages, `system` first. Raises InvalidParams where the template has no place for it."""
    turns = [Turn(message.role, message.content) for message in messages]
    if not system:
        return turns
    return [Turn("system", system), *turns] if model.takes_system else _headed(system, turns)


def _headed(system: str, turns: Sequence[Turn]) -> list[Turn]:
    """For templates without a system role: the text goes before the first question."""
    first, *others = turns
    if first.role != "user":
        raise InvalidParams(
            "field 'system': the model's chat template has no system role, so the text can only stand at the head of a "
            f"first message of role 'user', and this one is of role '{first.role}'",
            {"field": "system"},
        )
    text = f"{system}\n\n"
    return [Turn("user", text + first.content, (len(text),)), *others]
