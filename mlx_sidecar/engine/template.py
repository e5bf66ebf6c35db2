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
from jinja2.sandbox import ImmutableSandboxedEnvironment

from mlx_sidecar.engine.job import Turn
from mlx_sidecar.engine.tokenizer import Tokenizer
from mlx_sidecar.errors import InvalidParams, ModelInvalid


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


def _compile(text: str) -> jinja2.Template:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment.from_string(text)


class ChatTemplate:
    """Renders turns as the model was trained to see them."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._specials, self._renderer = tokenizer.specials, tokenizer.renderer
        try:
            self._template = _compile(tokenizer.template) if tokenizer.template is not None else None
        except jinja2.TemplateError as problem:
            raise ModelInvalid(f"the chat template has an error: {problem}", {"file": "chat_template"}) from None

    @property
    def exists(self) -> bool:
        """Whether the model has a template at all; base models don't."""
        return self._template is not None or self._renderer is not None

    def render(self, turns: Sequence[Turn], *, thinking: bool) -> str:
        """The prompt for the assistant's next turn. Raises InvalidParams where the template refuses."""
        messages = [{"role": turn.role, "content": turn.content} for turn in turns]
        options = {"add_generation_prompt": True, "enable_thinking": thinking, "thinking": thinking}
        try:
            if self._renderer is not None:
                return self._renderer(messages, **options)
            assert self._template is not None
            return self._template.render(messages=messages, tools=None, documents=None, **self._specials, **options)
        except Exception as problem:  # a template can fail in any way that Python can
            raise InvalidParams(f"the model's chat template refuses the conversation: {problem}") from None
