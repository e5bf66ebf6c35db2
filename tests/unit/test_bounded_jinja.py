"""Templates render in the bounded sandbox as in transformers'."""

from __future__ import annotations

from typing import Any

import pytest
from transformers.utils.chat_template_utils import render_jinja_template

from mlx_sidecar.engine.job import Turn
from mlx_sidecar.engine.template import ChatTemplate
from tests.support.tokenizers import TOKENIZERS

# Each does what templates of several families do.
TEMPLATES = {
    "a macro, a namespace and a search from the end": """
{%- macro content_of(content, trimmed=true) -%}
    {%- if content is string -%}{{ content | trim if trimmed else content }}
    {%- else -%}{% for part in content %}{{ part.text }}{% endfor %}{%- endif -%}
{%- endmacro -%}
{%- set ns = namespace(asks=true, last=messages|length - 1, seen=[]) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.asks and message.role == "user" and not message.content.startswith('<tool_response>') %}
        {%- set ns.asks = false %}
        {%- set ns.last = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = content_of(message.content) %}
    {%- set ns.seen = ns.seen + [message['role']] %}
    {%- if '</think>' in content %}
        {%- set reasoning = content.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}
        {{- reasoning ~ '|' ~ content.split('</think>')[-1] }}
    {%- elif (loop.index0 > ns.last) or loop.first or (loop.last and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\n' + content + '<|im_end|>' + '\n' }}
    {%- else %}
        {{- '%s of %d: %s' % (message.role, loop.length, message.content[1:-1]) }}
    {%- endif %}
{%- endfor %}
{{- ns.seen | join(', ') }}{{ ns.seen | unique | list | tojson }}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% if not enable_thinking %}<think>{% endif %}{% endif %}
""",
    "a system turn apart, filters and tests": """
{{- bos_token if bos_token is defined else '' }}
{%- if messages[0]['role'] == 'system' %}
    {%- set system, rest = messages[0]['content'], messages[1:] %}
{%- else %}{% set system, rest = '', messages %}{% endif %}
{%- for m in rest if m.role in ['user', 'assistant'] %}
    {%- if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}
    {{- m | tojson }}{{ m.items() | list | length }}{{ {'a': [1, (2, none)], 'b': 1.5} }}{{ m.get('x', 'no') | upper }}
    {{- "%s/%s" | format(m.role, loop.index) }}{{ '{:>6}|{}'.format(m.role, loop.revindex) }}
    {{- m.content.replace('a', 'bb') | replace('b', 'c') | indent(2) }}{{ [m.role] * 2 }}{{ 7 // 2 ** 2 - 3 % 2 }}
{%- endfor %}
{%- for role, turns in messages | groupby('role') %}{{ role }}={{ turns | map(attribute='content') | join }}{% endfor %}
{%- for m in messages | selectattr('role', 'equalto', 'user') %}{{ loop.cycle('odd', 'even') }}{% endfor %}
{%- set block %}{% for n in range(3, 0, -1) %}{{ n }}{% if n == 2 %}{% continue %}{% endif %},{% endfor %}{% endset %}
{{- block | trim }}{{ tools is none }}{{ undefined_thing }}{{ system | default('none', true) }}
{%- for item in [1, [2, [3]]] recursive %}{{ loop(item) if item is iterable else item }}{% endfor %}
{%- generation %}{{ messages[-1].content }}{% endgeneration %}
""",
}
TEMPLATES |= {name: kind.template for name, kind in TOKENIZERS.items() if kind.template}
CONVERSATIONS = {
    "one turn": [("user", " Hello  there\n")],
    "a system turn": [("system", "Be brief."), ("user", "a\nb <tag> & 'c'")],
    "reasoning": [("user", "a"), ("assistant", "<think>\nhm\n</think>\nb"), ("user", "\u00fcn\u00efcode \U0001f98a")],
    "many turns": [("assistant" if n % 2 else "user", f"turn {n}") for n in range(201)],
    "a long turn": [("user", "word " * 20_000)],
}


class _Tokenizer:
    """What a template needs of a tokenizer."""

    specials = {"bos_token": "<s>"}  # noqa: RUF012 - never changed
    renderer = None

    def __init__(self, template: str) -> None:
        self.template = template


@pytest.mark.parametrize("turns", CONVERSATIONS.values(), ids=CONVERSATIONS)
@pytest.mark.parametrize("thinking", [False, True])
@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_a_template_renders_as_in_transformers(template: str, thinking: bool, turns: list[tuple[str, str]]) -> None:
    """To the byte, or refused for the same reason."""
    options: dict[str, Any] = {"add_generation_prompt": True, "enable_thinking": thinking, "thinking": thinking}
    messages = [{"role": role, "content": content} for role, content in turns]
    try:
        (expected,), _ = render_jinja_template([messages], chat_template=template, bos_token="<s>", **options)
    except Exception as problem:
        expected = f"the model's chat template refuses the conversation: {problem}"
    made = ChatTemplate(_Tokenizer(template))  # type: ignore[arg-type]
    try:
        rendered = made.render([Turn(role, content) for role, content in turns], thinking=thinking)
    except Exception as problem:
        rendered = str(problem)
    assert rendered == expected
