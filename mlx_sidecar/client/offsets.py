"""Where quotes stand in a document: UTF-16 code units on the wire, code points in Python.

`Client` and `AsyncClient` give code points, so that `content[quote.start : quote.end]` is the quote. What writes
answers as the wire has them turns these back.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable
from typing import TypeVar

from msgspec.structs import replace

from mlx_sidecar.protocol.requests import Request
from mlx_sidecar.protocol.responses import Classified, Quote, Result, Summary, Tags

ResultT = TypeVar("ResultT", bound=Result)

_PAIRED = re.compile("[\U00010000-\U0010ffff]")
"""What is a pair of code units in UTF-16."""


def in_code_points(result: ResultT, request: Request) -> ResultT:
    """An answer as it came, with places as Python counts."""
    pairs = [place + number for number, place in enumerate(_paired(request))]
    return _placed(result, lambda unit: unit - bisect_left(pairs, unit)) if pairs else result


def in_code_units(result: ResultT, request: Request) -> ResultT:
    """An answer of a client's, with places as the wire has them."""
    pairs = _paired(request)
    return _placed(result, lambda point: point + bisect_left(pairs, point)) if pairs else result


def _paired(request: Request) -> list[int]:
    content = getattr(request, "content", "") if getattr(request, "evidence", False) else ""
    return [found.start() for found in _PAIRED.finditer(content)]


def _placed(result: ResultT, place: Callable[[int], int]) -> ResultT:
    def placed(quotes: list[Quote]) -> list[Quote]:
        return [replace(quote, start=place(quote.start), end=place(quote.end)) for quote in quotes]

    if isinstance(result, Summary) and isinstance(result.evidence, list):
        return replace(result, evidence=[replace(each, sources=placed(each.sources)) for each in result.evidence])
    if isinstance(result, Tags | Classified) and isinstance(result.evidence, list):
        return replace(result, evidence=[placed(quotes) for quotes in result.evidence])
    return result
