"""Chat templates: Jinja out of a model folder, rendered in a sandbox.

The environment offers what transformers offers to templates
(https://huggingface.co/docs/transformers/chat_templating_writing).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NoReturn

import jinja2
import jinja2.ext
from jinja2 import nodes
from jinja2.parser import Parser

from mlx_sidecar.engine.bounded_jinja import BoundedEnvironment
from mlx_sidecar.engine.job import Turn
from mlx_sidecar.engine.tokenizer import Tokenizer
from mlx_sidecar.errors import InvalidParams, ModelInvalid

_UNITS = 10_000_000
"""What a rendering may take, whatever it renders: about a second. Real templates take some thousand for a turn."""
_UNITS_PER_TURN = 50_000
_UNITS_PER_PAIR = 500
"""For each turn with each: Gemma 4's template looks through the conversation at every turn, and takes 150."""
_UNITS_PER_CHARACTER = 200
"""Of what the turns say: real templates trim it, split it, look for marks in it and put it together, 100 at most."""
_LONGEST_REASON = 500


class _Generation(jinja2.ext.Extension):
    """`{% generation %}` marks the assistant's words for training; here its body is just rendered."""

    tags = {"generation"}  # noqa: RUF012 - Jinja's own way

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _tojson(value: Any, ensure_ascii: bool = False, indent: int | None = None, **options: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **options)


def _environment() -> BoundedEnvironment:
    environment = BoundedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = environment.charged(_tojson)
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment


def _units(turns: Sequence[Turn]) -> int:
    count, chars = len(turns), sum(len(turn.content) for turn in turns)
    return _UNITS + _UNITS_PER_TURN * count + _UNITS_PER_PAIR * count**2 + _UNITS_PER_CHARACTER * chars


class ChatTemplate:
    """Renders turns as the model was trained to see them."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._specials, self._renderer = tokenizer.specials, tokenizer.renderer
        self._environment = _environment()
        try:
            made = self._environment.made(tokenizer.template, _UNITS) if tokenizer.template is not None else None
        except Exception as error:  # Jinja's own errors, and what Python says to code that is too deep for it
            reason = str(error)[:_LONGEST_REASON] or type(error).__name__
            raise ModelInvalid(f"the chat template has an error: {reason}", {"file": "chat_template"}) from None
        self._template = made

    @property
    def exists(self) -> bool:
        """Whether the model has a template at all; base models don't."""
        return self._template is not None or self._renderer is not None

    def render(self, turns: Sequence[Turn], *, thinking: bool, opens_turn: bool = True) -> str:
        """The conversation, and unless told otherwise the beginning of the assistant's next turn.

        Raises InvalidParams where the template refuses.
        """
        messages = [{"role": turn.role, "content": turn.content} for turn in turns]
        options = {"add_generation_prompt": opens_turn, "enable_thinking": thinking, "thinking": thinking}
        self._environment.left = _units(turns)
        try:
            if self._renderer is not None:
                return self._renderer(messages, **options)
            assert self._template is not None
            return self._template.render(messages=messages, tools=None, documents=None, **self._specials, **options)
        except Exception as error:  # a template can fail in any way that Python can
            reason = str(error)[:_LONGEST_REASON] or type(error).__name__
            raise InvalidParams(f"the model's chat template refuses the conversation: {reason}") from None
