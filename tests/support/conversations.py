"""Chat templates that print turns in the ways in which those of known models do, and conversations in every order."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

_ALTERNATE = (
    "{%- for m in rest %}{%- if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{- raise_exception('user and assistant must take turns') }}{%- endif %}{%- endfor %}"
)
_OPENS = "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
_TURN = "{{- '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}"

TEMPLATES = {
    # DeepSeek-V3
    "all system turns first": (
        "{%- set ns = namespace(system='') %}{%- for m in messages if m.role == 'system' %}"
        "{%- set ns.system = ns.system + ('\n\n' if ns.system else '') + m.content %}{%- endfor %}"
        "{{- '<|endoftext|>' + ns.system }}{%- for m in messages if m.role != 'system' %}"
        "{{- '<|im_start|>' + m.role + m.content }}{%- if m.role == 'assistant' %}{{- '<|im_end|>' }}{%- endif %}"
        "{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant' }}{%- endif %}"
    ),
    # Mistral 7B v0.3
    "the system turn before the last user turn": (
        "{%- if messages[0].role == 'system' %}{%- set system, rest = messages[0].content, messages[1:] %}"
        "{%- else %}{%- set rest = messages %}{%- endif %}" + _ALTERNATE + "{%- for m in rest %}"
        "{%- if m.role == 'user' and loop.last and system is defined %}"
        "{{- '<|im_start|> ' + system + '\n\n' + m.content + '<|im_end|>' }}"
        "{%- elif m.role == 'user' %}{{- '<|im_start|> ' + m.content + '<|im_end|>' }}"
        "{%- elif m.role == 'assistant' %}{{- ' ' + m.content | trim + '<|endoftext|>' }}"
        "{%- else %}{{- raise_exception('no such role here') }}{%- endif %}{%- endfor %}"
    ),
    # Gemma 3
    "the system turn within the first user turn": (
        "{%- if messages[0].role == 'system' %}{%- set system, rest = messages[0].content + '\n\n', messages[1:] %}"
        "{%- else %}{%- set system, rest = '', messages %}{%- endif %}" + _ALTERNATE + "{%- for m in rest %}"
        "{{- '<|im_start|>' + m.role + '\n' + (system if loop.first else '') }}{{- m.content | trim }}"
        "{{- '<|im_end|>\n' }}{%- endfor %}" + _OPENS
    ),
    # Gemma 2
    "no system turn": (
        "{%- if messages[0].role == 'system' %}{{- raise_exception('there is no system role') }}{%- endif %}"
        "{%- set rest = messages %}" + _ALTERNATE + "{%- for m in rest %}" + _TURN + "{%- endfor %}" + _OPENS
    ),
    # Phi-3, as it came first
    "system turns passed over": "{%- for m in messages if m.role != 'system' %}" + _TURN + "{%- endfor %}" + _OPENS,
    # Qwen3
    "old reasoning taken out": (
        "{%- set ns = namespace(last=messages|length) %}{%- for m in messages[::-1] %}"
        "{%- if ns.last == messages|length and m.role == 'user' %}"
        "{%- set ns.last = messages|length - 1 - loop.index0 %}"
        "{%- endif %}{%- endfor %}{%- for m in messages %}{%- set content = m.content %}"
        "{%- if m.role == 'assistant' and '</think>' in content %}"
        "{%- set reasoning = content.split('</think>')[0].split('<think>')[-1].strip('\n') %}"
        "{%- set content = content.split('</think>')[-1].lstrip('\n') %}"
        "{%- if loop.index0 > ns.last %}{%- set content = '<think>\n' + reasoning + '\n</think>\n\n' + content %}"
        "{%- endif %}{%- endif %}{{- '<|im_start|>' + m.role + '\n' + content + '<|im_end|>\n' }}{%- endfor %}" + _OPENS
    ),
    # DeepSeek-R1
    "reasoning always taken out": (
        "{%- for m in messages %}{%- if m.role == 'assistant' %}"
        "{{- '<|im_start|>assistant\n' + m.content.split('</think>')[-1] + '<|im_end|>' }}"
        "{%- else %}" + _TURN + "{%- endif %}{%- endfor %}" + _OPENS
    ),
    # gpt-oss
    "the first system turn within a frame, later ones passed over": (
        "{{- '<|im_start|>system\nYou are a model.\n\n<|im_end|>' }}"
        "{%- if messages[0].role == 'system' %}{%- set first, rest = messages[0].content, messages[1:] %}"
        "{{- '<|im_start|>developer\n# Instructions\n\n' + first + '<|im_end|>' }}"
        "{%- else %}{%- set rest = messages %}{%- endif %}"
        "{%- for m in rest %}{%- if m.role == 'assistant' %}{%- if '<|im_start|>' in m.content %}"
        "{{- raise_exception('a message holds a tag') }}{%- endif %}"
        + _TURN
        + "{%- elif m.role == 'user' %}"
        + _TURN
        + "{%- endif %}{%- endfor %}"
        + _OPENS
    ),
    # SmolLM3
    "the system text says whether to think": (
        "{%- set system = messages[0].content if messages[0].role == 'system' else '' %}"
        "{{- '<|im_start|>system\n' + system.replace('/no_think', '') | trim + '\nReasoning: ' }}"
        "{{- 'off' if '/no_think' in system else 'on' }}{{- '<|im_end|>\n' }}"
        "{%- for m in messages %}{%- if m.role != 'system' %}" + _TURN + "{%- endif %}{%- endfor %}" + _OPENS
    ),
    "the last turn twice, in JSON": (
        "{%- for m in messages %}" + _TURN + "{%- endfor %}{{- messages[-1].content | tojson }}" + _OPENS
    ),
}

SAID = {
    "system": ["Be brief.", 'Speak\nof "rivers". /no_think'],
    "user": ["Hello there", "  What is\n\nthe sea? \n", "<tool>And</tool> now?"],
    "assistant": ["Hello!", "<think>\nhm, water\n</think>\n\nSalt water.", "More   of that. "],
}


def orders(most: int) -> Iterator[list[tuple[str, str]]]:
    """Every order of up to so many turns; what each says depends on where it stands."""
    for length in range(1, most + 1):
        for roles in itertools.product(SAID, repeat=length):
            yield [(role, SAID[role][place % len(SAID[role])]) for place, role in enumerate(roles)]
