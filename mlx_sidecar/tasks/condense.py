"""What of a document is shown to the model: all of it, but for what says nothing and drowns the rest.

Scans and texts out of PDFs are full of blanks: empty lines by the hundred, columns
far apart, form feeds. A small model that reads them forgets what it was asked, and
every task pays for them. So do rules of dashes, encoded data, pages of numbers
and of identifiers. They are shortened before anything is counted, and what isn't blank is told in a
warning. Texts, code, tables and lists as people write them stay to the character.

A small model that reads 200 line breaks or a page of base64 answers "p p p", and pays for each token. The rules are
applied to the text in turn. `Condensed` keeps where each character stands in the original: the task looks for
evidence in what the model reads, and quotes what came. The bounds leave all texts of `benchmarks/quality` as they
are, to the byte (2026-11-29).
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from typing import Any, TypeVar

from msgspec.structs import replace

from mlx_sidecar.control_characters import CONTROLS_BUT_BLANKS
from mlx_sidecar.errors import InvalidParams
from mlx_sidecar.protocol.requests import Classify, GenerateTags, Summarize
from mlx_sidecar.tasks.condensed import Condensed, Cut
from mlx_sidecar.tasks.noise.binary_text import binary_text
from mlx_sidecar.tasks.noise.blanks import blank_rows, edges
from mlx_sidecar.tasks.noise.encoded import encoded_data
from mlx_sidecar.tasks.noise.identifiers import identifiers
from mlx_sidecar.tasks.noise.markup import empty_markup
from mlx_sidecar.tasks.noise.numbers import number_tables
from mlx_sidecar.tasks.noise.repetition import repeated_lines, repeated_rounds, sign_runs
from mlx_sidecar.tasks.noise.rule import CHARS_AT_ONCE, INVISIBLE, SYMBOL, TIGHT, USUAL, WORD, Rule
from mlx_sidecar.tasks.task import Pause, TaskYield, Warn

_VISIBLE = re.compile(rf"[^\s{INVISIBLE}{CONTROLS_BUT_BLANKS}]")
_LEAST_SHARE_OF_LETTERS, _SHORT = 0.33, 400

_RULES: tuple[Rule, ...] = (
    *(repeated_rounds, repeated_lines, sign_runs, empty_markup),
    *(binary_text, encoded_data, identifiers, number_tables, blank_rows),
)

DocumentRequest = TypeVar("DocumentRequest", GenerateTags, Summarize, Classify)


def read_request(request: DocumentRequest) -> Generator[TaskYield, object, tuple[DocumentRequest, Condensed]]:
    """The request with its texts as they are shown to the model, and the document; raises InvalidParams for none."""
    document = yield from _read(request.content)
    examples = list[Any]()
    for each in request.examples:
        content = (yield from condense(each.content)).text
        examples.append(replace(each, content=content) if SYMBOL.search(content) else each)
    return replace(request, content=document.text, examples=examples), document


def _read(content: str) -> Generator[TaskYield, object, Condensed]:
    document = yield from condense(content)
    refused = {"field": "content"}
    told = [f"{chars:,} characters of {kind}" for kind, chars in document.passed_over.items()]
    if not told and not _VISIBLE.search(document.text):
        raise InvalidParams("field 'content': expected some text, got nothing but blanks", refused)
    if told and not WORD.search(document.text):
        raise InvalidParams(
            f"field 'content': there are no words in it, only {' and '.join(told)}; send text, decoded if need be",
            refused,
        )
    if told:
        yield Warn(tuple(f"field 'content': passed over {each}" for each in told))
    return document


def condense(content: str) -> Generator[Pause, object, Condensed]:
    """The document without what says nothing. Its time grows with its length only."""
    document = Condensed(content)
    for bounds in (USUAL, TIGHT):
        for rule in _RULES:
            document.cut((yield from _all(rule(document.text, bounds))))
        letters = yield from _letters(document.text)
        if letters >= _LEAST_SHARE_OF_LETTERS * len(document.text) or len(document.text) < _SHORT:
            break
    if document.text != content:
        document.cut(edges(document.text))
    return document


def _all(found: Iterator[Cut | Pause]) -> Generator[Pause, object, list[Cut]]:
    cuts = list[Cut]()
    for each in found:
        if isinstance(each, Cut):
            cuts.append(each)
        else:
            yield each
    return cuts


def _letters(text: str) -> Generator[Pause, object, int]:
    letters = 0
    for at in range(0, len(text), CHARS_AT_ONCE):
        if at:
            yield Pause()
        letters += sum(map(str.isalpha, text[at : at + CHARS_AT_ONCE]))
    return letters
