"""What of a document is shown to the model: all of it, but for what says nothing and drowns the rest.

Scans and texts out of PDFs are full of blanks: empty lines by the hundred, columns
far apart, form feeds. A small model that reads them forgets what it was asked, and
every task pays for them. So do rules of dashes, encoded data, pages of numbers.
They are shortened before anything is counted, and what isn't blank is told in a
warning. Texts, code, tables and lists as people write them stay to the character.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Generator, Iterator
from typing import Any, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from mlx_sidecar.errors import InvalidParams
from mlx_sidecar.protocol.requests import Classify, GenerateTags, Summarize
from mlx_sidecar.tasks.condensed import Condensed, Cut
from mlx_sidecar.tasks.task import Pause, Warn, Wish
from mlx_sidecar.tasks.words import UNSPACED

_CHARS_AT_ONCE = 64 * 1024

_ENCODED, _NUMBERS = "encoded data", "numbers without words"
_REPEATED, _SIGNS = "the same signs again and again", "signs without words"

_INVISIBLE = (
    r"\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164"
    r"\ufe00-\ufe0f\ufeff\uffa0"
)
"""Joiners, direction marks, fillers, variation selectors: alone they belong to a word or an emoji, many are blanks."""

_MOST_INVISIBLE = 4
_CONTROLS = r"\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f"
_BLANKS = re.compile(rf"[\s{_INVISIBLE}]+")
_LONG_BLANKS = re.compile(rf"[\s{_INVISIBLE}]{{2,}}|[\v\f\x1c-\x1e\x85\u2028\u2029]|[{_CONTROLS}]+")
_VISIBLE = re.compile(rf"[^\s{_INVISIBLE}{_CONTROLS}]")
_BLOCK_END = re.compile(rf"(?<=[^\s{_INVISIBLE}])[\s{_INVISIBLE}]")
_MOST_LOOKED_AT = 512
_LINE_BREAK = re.compile(r"\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
_ODD_LINE_BREAK = re.compile(r"[\v\f\x1c-\x1e\x85\u2028\u2029]")
_CONTROL = re.compile(rf"[{_CONTROLS}]")
_ODD_BLANK = re.compile(r"[^ \t\r\n\u00a0\u202f\u3000]")
_MOST_LINE_BREAKS = 2
_PUT_FOR_GAP, _PUT_FOR_INDENT = 2, 8

_WORD = re.compile(rf"[^\W\d_]{{2}}|[{UNSPACED}]")
_SYMBOL = re.compile(r"[^\W_]|[^\x00-\x7f\s\u2000-\u206f\u2500-\u259f\u3000-\u303f]")
"""What may say something where there is no word: a letter, a digit, an emoji."""

_TOKEN = re.compile(r"\S+")
_DIGIT = re.compile(r"\d")
_LIKE_A_NUMBER = re.compile(
    r"\W*(?:nan|n/?a|null|none|nil|inf|true|false|\d[\d.,]*e[+-]?\d+|(?:0x|\\x)?[0-9a-f]*\d[0-9a-f]*|[0-9a-f]{2}|[a-f]{4})\W*",
    re.IGNORECASE,
)
"""What stands among numbers: no value, an exponent, hexadecimal digits."""

_LONGEST_NUMBER, _STRETCH = 40, 64
_LEAST_SHARE_OF_NUMBERS = 0.5
_SEPARATOR = re.compile(r"[\s,;|]")

_LONG_TOKEN = re.compile(r"\S{16,}")
_DATA = re.compile(r"[A-Za-z0-9+/=_%-]+")
_DATA_URI = re.compile(r"data:[a-z]+/[\w.+-]+[;,][^\s\"<>)\]]{64,}", re.IGNORECASE)
_DATA_TAIL = re.compile(r"\W{1,16}(?:[A-Za-z0-9+/]{2,}={1,2}|[A-Za-z0-9+/]{8,})(?![^\s\"'])")
_AROUND_DATA = "\"'`,;\\"
_LETTERS_ONLY = re.compile(r"[A-Za-z]{48,}")
_NO_WORD_HAS_SO_MANY_LETTERS = re.compile(r"[A-Za-z]{65,}")
_KIND_CHANGES = re.compile(r"[a-z](?=[A-Z0-9])|[A-Z](?=[0-9])|[0-9](?=[A-Za-z])")
_LEAST_DATA, _LEAST_DATA_LINE = 100, 40
"""Characters of encoded data in one piece, and of each of several lines. A digest has 64 and may stand in a text."""

_DATA_SAMPLE = 512
_MANY_DIGITS, _SOME_DIGITS, _MANY_CHANGES = 0.3, 0.03, 0.25
"""Encoded data has the first share of digits, or the second and, for each character, so many changes between small
letters, capitals and digits."""

_WINDOW, _LONGEST_PERIOD = 32, 16
"""A repetition that is twice as long as the window is always found."""

_KEPT_ROUNDS = 3
_SIGN_RUN = re.compile(rf"([^\w\s{_INVISIBLE}{_CONTROLS}]|_)\1{{7,}}")
_SAID_WORD = re.compile(rf"\s|[{UNSPACED}].|.[{UNSPACED}]")
_LETTERS, _ROUNDS_OF_LETTERS = 64, 128
"""Characters of the same letter, and of the same few, from which on they are neither a word nor a song."""

_LEAST_SHARE_OF_LETTERS, _SHORT = 0.33, 400


class _Bounds(Struct, frozen=True):
    """Up to how many characters something stays as it is."""

    gap: int
    indent: int
    signs: int
    rounds: int
    numbers: int


_USUAL = _Bounds(gap=32, indent=32, signs=96, rounds=96, numbers=1000)
_TIGHT = _Bounds(gap=4, indent=8, signs=16, rounds=64, numbers=200)
"""For documents that aren't short and in which few characters are letters; even deeply nested code has more."""

_Rule = Callable[[str, _Bounds], Iterator[Cut | Pause]]
"""Finds what to cut, with pauses in between."""


DocumentRequest = TypeVar("DocumentRequest", GenerateTags, Summarize, Classify)


def read_request(request: DocumentRequest) -> Generator[Wish, object, tuple[DocumentRequest, Condensed]]:
    """The request with its texts as they are shown to the model, and the document; raises InvalidParams for none."""
    document = yield from _read(request.content)
    examples = list[Any]()
    for each in request.examples:
        content = (yield from condense(each.content)).text
        examples.append(replace(each, content=content) if _SYMBOL.search(content) else each)
    return replace(request, content=document.text, examples=examples), document


def _read(content: str) -> Generator[Wish, object, Condensed]:
    document = yield from condense(content)
    refused = {"field": "content"}
    told = [f"{chars:,} characters of {kind}" for kind, chars in document.passed_over.items()]
    if not told and not _VISIBLE.search(document.text):
        raise InvalidParams("field 'content': expected some text, got nothing but blanks", refused)
    if told and not _WORD.search(document.text):
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
    for bounds in (_USUAL, _TIGHT):
        for rule in _RULES:
            document.cut((yield from _all(rule(document.text, bounds))))
        letters = yield from _letters(document.text)
        if letters >= _LEAST_SHARE_OF_LETTERS * len(document.text) or len(document.text) < _SHORT:
            break
    if document.text != content:
        document.cut(_edges(document.text))
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
    for at in range(0, len(text), _CHARS_AT_ONCE):
        if at:
            yield Pause()
        letters += sum(map(str.isalpha, text[at : at + _CHARS_AT_ONCE]))
    return letters


def _blocks(text: str) -> Iterator[tuple[int, int]]:
    """The text in pieces to look through at once; no row of blanks is divided, and no word of any length."""
    at = 0
    while at < len(text):
        most = at + 2 * _CHARS_AT_ONCE
        if bound := _BLOCK_END.search(text, at + _CHARS_AT_ONCE, most):
            end = bound.start()
        else:
            blanks = _BLANKS.match(text, most)
            end = blanks.end() if blanks else min(most, len(text))
        yield at, end
        at = end


# Repetition


def _rounds(text: str, bounds: _Bounds) -> Iterator[Cut | Pause]:
    """Few characters that come again and again: "- - - -", "&nbsp;&nbsp;", "aaaa"."""
    done = 0
    for at in range(0, len(text) - _WINDOW + 1, _WINDOW):
        if at and at % _CHARS_AT_ONCE == 0:
            yield Pause()
        if at >= done and (period := _period(text[at : at + _WINDOW])):
            start, end = _run(text, at, period, done)
            unit, done = text[start : start + period], end
            if end - start > _most_of(unit, bounds):
                stands_alone = not text[start - 1 : start].isalnum() and not text[end : end + 1].isalnum()
                kept = 0 if unit.isalnum() and stands_alone else _KEPT_ROUNDS * period
                yield Cut(start + kept, end, kind=_REPEATED)


def _most_of(unit: str, bounds: _Bounds) -> float:
    """Up to how many characters this may repeat itself. A word that is said again and again is a text."""
    if not _SYMBOL.search(unit):
        return bounds.rounds
    if _SAID_WORD.search(unit):
        return math.inf
    return _LETTERS if len(unit) == 1 else _ROUNDS_OF_LETTERS


def _period(window: str) -> int:
    """After how many characters the window repeats itself; 0 where it doesn't, or is blank."""
    period = window.find(window[:_LONGEST_PERIOD], 1)
    repeats = 0 < period <= _LONGEST_PERIOD and window[period:] == window[:-period]
    return period if repeats and not _BLANKS.fullmatch(window) else 0


def _run(text: str, at: int, period: int, least: int) -> tuple[int, int]:
    """How far a repetition goes on around this place."""
    start = at
    while start > least and text[start - 1] == text[start - 1 + period]:
        start -= 1
    rounds = re.compile(f"(?:{re.escape(text[at : at + period])})+").match(text, at)
    end = rounds.end() if rounds else at
    while end < len(text) and text[end] == text[end - period]:
        end += 1
    return start, end


def _signs(text: str, bounds: _Bounds) -> Iterator[Cut | Pause]:
    """Rules and dotted lines."""
    for start, end in _blocks(text):
        if start:
            yield Pause()
        for found in _SIGN_RUN.finditer(text, start, end):
            if len(found[0]) > bounds.signs:
                yield Cut(found.start() + _KEPT_ROUNDS, found.end(), kind=_REPEATED)


# Encoded data


def _data(text: str, _: _Bounds) -> Iterator[Cut | Pause]:
    """Pieces of encoded data, and lines of it that follow each other."""
    lines = list[tuple[int, int]]()
    for start, end in _blocks(text):
        if start:
            yield Pause()
        for token in _LONG_TOKEN.finditer(text, start, end):
            if lines and _SYMBOL.search(text, lines[-1][1], token.start()):
                yield from _block(text, lines)
                lines = []
            if _is_line_of_data(token[0].strip(_AROUND_DATA)):
                lines.append(token.span())
            else:
                yield from _block(text, lines)
                lines = []
                yield from _pieces(text, *token.span())
    yield from _block(text, lines)


def _block(text: str, lines: list[tuple[int, int]]) -> Iterator[Cut]:
    if lines:
        (start, _), (_, end) = lines[0], lines[-1]
        if len(lines) > 1 and (tail := _DATA_TAIL.match(text, end)):
            end = tail.end()
        if end - start > _LEAST_DATA:
            yield Cut(start, end, kind=_ENCODED)


def _pieces(text: str, start: int, end: int) -> Iterator[Cut]:
    """What is encoded within a word."""
    while start < end:
        uri = _DATA_URI.search(text, start, end)
        until = uri.start() if uri else end
        for piece in _DATA.finditer(text, start, until):
            if len(piece[0]) > _LEAST_DATA and _looks_encoded(piece[0]):
                yield Cut(*piece.span(), kind=_ENCODED)
        if uri:
            yield Cut(*uri.span(), kind=_ENCODED)
        start = uri.end() if uri else end


def _is_line_of_data(token: str) -> bool:
    if len(token) < _LEAST_DATA_LINE or not _DATA.fullmatch(token):
        return False
    return bool(_LETTERS_ONLY.fullmatch(token)) or _looks_encoded(token)


def _looks_encoded(piece: str) -> bool:
    """Whether this is no path, no name and no heading with dashes."""
    sample = piece[:_DATA_SAMPLE]
    digits = sum(map(str.isdigit, sample)) / len(sample)
    changes = len(_KIND_CHANGES.findall(sample)) / len(sample)
    mixed = digits >= _SOME_DIGITS and changes >= _MANY_CHANGES
    return mixed or digits >= _MANY_DIGITS or bool(_NO_WORD_HAS_SO_MANY_LETTERS.search(piece))


# Numbers


def _numbers(text: str, bounds: _Bounds) -> Iterator[Cut | Pause]:
    """Tables of numbers, without a word among them. The first of them are kept, to show what there is."""
    table = _Table(text, bounds)
    for block in _blocks(text):
        if block[0]:
            yield Pause()
        for token in _TOKEN.finditer(text, *block) if _may_have_numbers(text, *block) else ():
            if table.has_room_for(token[0]):
                table.add(token)
            else:
                yield from table.ended()
        if table.end < block[1]:
            yield from table.ended()
    yield from table.ended()


def _may_have_numbers(text: str, start: int, end: int) -> bool:
    """Whether there is a stretch without a word, or full of digits."""
    stretches = (text[at : at + _STRETCH] for at in range(start, end, _STRETCH))
    return any(not _WORD.search(each) or len(_DIGIT.findall(each)) > _STRETCH // 4 for each in stretches)


class _Table:
    """Numbers and signs that follow each other."""

    def __init__(self, text: str, bounds: _Bounds) -> None:
        self._text, self._bounds = text, bounds
        self._start = self.end = self._tokens = self._said = self._numbers = 0

    def has_room_for(self, token: str) -> bool:
        """Whether this is no word. Between numbers some that might be words aren't."""
        if not _WORD.search(token):
            return True
        may_be = len(token) <= _LONGEST_NUMBER and (self._tokens or _DIGIT.search(token))
        return bool(may_be and _LIKE_A_NUMBER.fullmatch(token))

    def add(self, token: re.Match[str]) -> None:
        """It goes on with this."""
        self._start = self._start if self._tokens else token.start()
        self.end, self._tokens = token.end(), self._tokens + 1
        self._said += bool(_SYMBOL.search(token[0]))
        self._numbers += bool(_DIGIT.search(token[0]))

    def ended(self) -> Iterator[Cut]:
        """What to cut of it: the greater part, if there is very much. Another one begins."""
        start, share = self._start, self._numbers / max(self._said, 1)
        is_table = not self._said or share >= _LEAST_SHARE_OF_NUMBERS
        if self._tokens and is_table and self.end - start > self._bounds.numbers:
            shown = start + self._bounds.numbers // 4
            ends = [found.start() for found in _SEPARATOR.finditer(self._text, start + 1, shown)]
            yield Cut(ends[-1] if ends else shown, self.end, kind=_NUMBERS if share else _SIGNS)
        self._tokens = self._said = self._numbers = 0


# Blanks


def _blanks(text: str, bounds: _Bounds) -> Iterator[Cut | Pause]:
    """Long rows of blanks, of whatever kind, and control characters."""
    for block in _blocks(text):
        if block[0]:
            yield Pause()
        for found in _LONG_BLANKS.finditer(text, *block):
            start, end = found.span()
            run = _both_ends(found[0])
            put = _shortened(run, bounds)
            if put != run:
                yield Cut(start, end, put="" if start == 0 or end == len(text) else put)


def _both_ends(run: str) -> str:
    """Of very many blanks, those at both ends tell enough."""
    return run if len(run) <= 2 * _MOST_LOOKED_AT else run[:_MOST_LOOKED_AT] + run[-_MOST_LOOKED_AT:]


def _edges(text: str) -> list[Cut]:
    """What is blank around the text."""
    start, end = len(text) - len(text.lstrip()), len(text.rstrip())
    return [Cut(*each) for each in ((0, start), (end, len(text))) if each[0] < each[1]] if start < end else []


def _shortened(run: str, bounds: _Bounds) -> str:
    breaks = [found.end() for found in _LINE_BREAK.finditer(run)]
    if not breaks:
        return _gap(run, bounds)
    head, indent = run[: breaks[-1]], run[breaks[-1] :]
    longest = max(map(len, _LINE_BREAK.split(head)))
    if len(breaks) > _MOST_LINE_BREAKS or _ODD_LINE_BREAK.search(head) or longest > bounds.gap:
        head = "\n" * min(len(breaks), _MOST_LINE_BREAKS)
    return head + _indent(indent, bounds)


def _gap(run: str, bounds: _Bounds) -> str:
    if not any(map(str.isspace, run)):
        return "" if len(run) > _MOST_INVISIBLE or _CONTROL.match(run) else run
    odd = len(_ODD_BLANK.findall(run))
    return run if len(run) <= bounds.gap and odd <= _MOST_INVISIBLE else " " * _PUT_FOR_GAP


def _indent(run: str, bounds: _Bounds) -> str:
    odd = len(_ODD_BLANK.findall(run))
    return run if len(run) <= bounds.indent and odd <= _MOST_INVISIBLE else " " * min(_PUT_FOR_INDENT, len(run))


_RULES: tuple[_Rule, ...] = (_rounds, _signs, _data, _numbers, _blanks)
