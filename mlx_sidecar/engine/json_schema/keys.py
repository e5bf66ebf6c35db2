"""Which tokens would give an object of a JSON text the same name a second time.

llguidance lets each name of `properties` stand once. Names of `additionalProperties` and `patternProperties` may come
again and again: a grammar doesn't know what was written. So the bytes of each answer are followed here, and tokens
that would close a name that its object has already are taken out of what the grammar allows.

Names are the same if they are once their escapes are decoded. So that every name has one spelling only, no name may
hold `\\u`, unless the grammar allows nothing else; all other characters that JSON escapes have one short escape.

A grammar can't say that a name comes once. Following the text costs 5 to 11 µs a step and sequence beside 10 to 20
for the mask, on a vocabulary of 49,000. Only tokens that can end a name are looked at, and each of them only where it
would (2026-11-28).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from mlx_sidecar.engine.vocabulary import Vocabulary

TokenBitmask = NDArray[np.int32]

Names = dict[bytes, bool]
"""The names of an object, and whether each is known to be one that more letters could have followed."""

_FEW = 16
"""Words that Python looks at one by one as fast as numpy does at once."""

_QUOTE, _BACKSLASH, _COMMA, _COLON, _U = b'"\\,:u'
_OPENERS, _CLOSERS = b"{[", b"}]"


class JsonText:
    """Follows a JSON text that a grammar holds to its form, and knows the names of each object that is open."""

    def __init__(self) -> None:
        self._open: list[Names | None] = []  # None for a list
        self._added: list[tuple[Names, bytes]] = []
        self.in_string = False
        self.escaped = False
        """Whether the last byte began an escape."""
        self.expects_name = False
        self.name: bytes | None = None
        """What is there of a name that is being written, as it is spelled."""

    def used(self) -> Names:
        """The names that the innermost object has."""
        names = self._open[-1] if self._open else None
        return {} if names is None else names

    def go_on(self, raw: bytes) -> bool:
        """Take these bytes. False if they give a name twice, or write one with `\\u`."""
        if self.in_string and not self.escaped and b'"' not in raw and b"\\" not in raw:
            if self.name is not None:
                self.name += raw
            return True
        fine = True
        for byte in raw:
            fine &= self._in_text(byte) if self.in_string else self._between(byte)
        return fine

    def may_go_on(self, raw: bytes) -> bool:
        """Whether these bytes could follow; nothing is taken."""
        before = (list(self._open), self.in_string, self.escaped, self.expects_name, self.name)
        self._added.clear()
        fine = self.go_on(raw)
        for names, name in self._added:
            names.pop(name, None)
        self._open, self.in_string, self.escaped, self.expects_name, self.name = before
        return fine

    def _between(self, byte: int) -> bool:
        if byte == _QUOTE:
            self.in_string = True
            self.name = b"" if self.expects_name else None
        elif byte in _OPENERS:
            self._open.append({} if byte == _OPENERS[0] else None)
            self.expects_name = byte == _OPENERS[0]
        elif byte in _CLOSERS:
            if self._open:
                self._open.pop()
            self.expects_name = False
        elif byte == _COMMA:
            self.expects_name = bool(self._open) and self._open[-1] is not None
        elif byte == _COLON:
            self.expects_name = False
        return True

    def _in_text(self, byte: int) -> bool:
        if byte == _QUOTE and not self.escaped:
            return self._close()
        spelled_out = self.escaped and byte == _U and self.name is not None
        self.escaped = byte == _BACKSLASH and not self.escaped
        if self.name is not None:
            self.name += bytes([byte])
        return not spelled_out

    def _close(self) -> bool:
        self.in_string = False
        if self.name is None:
            return True
        name, self.name = _one_spelling(self.name), None
        names = self._open[-1] if self._open else None
        if names is None or name in names:
            return names is None
        names[name] = False
        self._added.append((names, name))
        return True


def _one_spelling(name: bytes) -> bytes:
    if b"\\u" not in name:
        return name
    try:
        return json.dumps(json.loads(b'"' + name + b'"'), ensure_ascii=False)[1:-1].encode("utf-8", "surrogatepass")
    except ValueError:
        return name


class Tokens:
    """Some tokens, to be found in bits."""

    def __init__(self, tokens: Iterable[int]) -> None:
        self._by_word: dict[int, int] = {}
        for token in tokens:
            self._by_word[token // 32] = self._by_word.get(token // 32, 0) | 1 << token % 32
        self._words = np.array(list(self._by_word), dtype=np.int64)
        self._masks = np.array(list(self._by_word.values()), dtype=np.uint32)

    def of(self, bits: TokenBitmask) -> list[int]:
        """Those whose bits are set."""
        found: list[int] = []
        view = bits.view(np.uint32)
        for word, mask in self._by_word.items() if len(self._by_word) <= _FEW else self._both(view):
            if word < len(view) and (set_there := int(view[word]) & mask):
                found += [32 * word + bit for bit in range(32) if set_there >> bit & 1]
        return found

    def _both(self, view: NDArray[np.uint32]) -> list[tuple[int, int]]:
        fitting = self._words < len(view)
        words, masks = self._words[fitting], self._masks[fitting]
        hit = np.flatnonzero(view[words] & masks)
        return list(zip(words[hit].tolist(), masks[hit].tolist(), strict=True))

    def are_all(self, bits: TokenBitmask) -> bool:
        """Whether no other bits are set."""
        view = bits.view(np.uint32)
        words = np.flatnonzero(view).tolist()
        return all(int(view[word]) & ~self._by_word.get(word, 0) == 0 for word in words[: len(self._by_word) + 1])


class QuoteTokens:
    """The tokens of a vocabulary that can end a name, by the bytes that they have before its end.

    A token with several quotes may end a name in more ways. How many it needs depends on where it begins.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.ids_of = vocabulary.ids_of
        self.table = [vocabulary.bytes_of(token) for token in range(len(vocabulary))]
        self.inside: dict[bytes, list[int]] = {}
        self.escaped: dict[bytes, list[int]] = {}
        """The same for tokens that begin behind a backslash."""
        quotes = [(token, raw, raw.count(b'"')) for token, raw in enumerate(self.table) if b'"' in raw]
        for token, raw, _ in quotes:
            _add(self.inside, raw, _end(raw, False), token)
            _add(self.escaped, raw, _end(raw, True), token)
        self.ending = Tokens(self.inside.get(b"", ()))
        self.with_u = Tokens(token for token, raw in enumerate(self.table) if raw[:1] == b"u")
        spelled = [token for token, raw in enumerate(self.table) if b"\\u" in raw]
        both = [token for token, raw, _ in quotes if b"\\u" in raw]
        self.in_name = Tokens([*(token for token, _, count in quotes if count >= 3), *spelled])
        self.in_value = Tokens([*(token for token, _, count in quotes if count >= 3), *both])
        self.names: dict[bytes, list[int]] = {}
        """Tokens that hold a whole name, by the name."""
        others = list(both)
        for token, raw, count in quotes:
            begun = raw.lstrip()
            if count >= 4 or (count >= 2 and not begun.startswith(b'"')):
                others.append(token)
            elif count >= 2:
                _add(self.names, begun[1:], _end(begun[1:], False), token)
        self.before_name = Tokens(others)
        # What begins with a quote there is a value.
        self.elsewhere = Tokens(
            token
            for token, raw, count in quotes
            if count >= 4 or ((count >= 2 or b"\\u" in raw) and not raw.lstrip().startswith(b'"'))
        )

    def bytes_of(self, token: int) -> bytes:
        """What a token adds to the text."""
        return self.table[token] if token < len(self.table) else b""


class JsonKeys:
    """Keeps the names of each object of one answer apart.

    `after` tells what the grammar allows behind a token. It is asked where names have patterns: a token that makes a
    name which is there already, and that the pattern lets no more letters follow, isn't to be chosen. This looks one
    token ahead. Where all names that begin alike are there already, an answer may still come to where only a name fits
    that is there.
    """

    def __init__(self, tokens: QuoteTokens, after: Callable[[int], TokenBitmask] | None = None) -> None:
        self._tokens, self._text, self._after = tokens, JsonText(), after
        self._extensible: bytes | None = None

    def take(self, token: int) -> None:
        """The answer has this token now."""
        raw, name = self._tokens.bytes_of(token), self._text.name
        names = self._text.used()
        self._text.go_on(raw)
        if name is not None and name == self._extensible and name in names:
            names[name] = True

    def without_repeats(self, bits: TokenBitmask) -> TokenBitmask:
        """What of these may be next. All of it, if nothing would be left."""
        spoiling = self._spoiling(bits)
        if self._after is not None:
            self._extensible = None if self._tokens.ending.are_all(bits) else self._text.name
            ahead = self._completing(bits)
            spoiling += [token for token in ahead if self._tokens.ending.are_all(self._after(token))]
        if not spoiling:
            return bits
        left = bits.copy()
        view = left.view(np.uint32)
        for token in spoiling:
            if token // 32 < len(view):
                view[token // 32] &= ~np.uint32(1 << (token % 32))
        return left if left.any() else bits

    def _spoiling(self, bits: TokenBitmask) -> list[int]:
        text, tokens = self._text, self._tokens
        if text.name is None:
            kind = tokens.in_value if text.in_string else tokens.before_name if text.expects_name else tokens.elsewhere
            spoiling = [token for token in kind.of(bits) if not text.may_go_on(tokens.bytes_of(token))]
            if text.expects_name and not text.in_string:
                spoiling += [token for name in text.used() for token in tokens.names.get(name, ())]
            return spoiling
        ends, begun = tokens.escaped if text.escaped else tokens.inside, text.name
        spoiling = [
            token for name in text.used() if name.startswith(begun) for token in ends.get(name[len(begun) :], ())
        ]
        spoiling += tokens.with_u.of(bits) if text.escaped else []
        return spoiling + [token for token in tokens.in_name.of(bits) if not text.may_go_on(tokens.bytes_of(token))]

    def _completing(self, bits: TokenBitmask) -> list[int]:
        """The tokens of these that make a name which is there already, but for its end.

        Without those that had other letters to follow when they were written.
        """
        used = [name for name, extensible in self._text.used().items() if not extensible]
        if self._text.name is not None:
            rests = [name[len(self._text.name) :] for name in used if name.startswith(self._text.name)]
        elif self._text.in_string:
            return []
        else:
            rests = [before + name for name in used for before in (b'"', b' "', b', "')]
        return Tokens(token for rest in rests if rest for token in self._tokens.ids_of.get(rest, ())).of(bits)


def _end(raw: bytes, escaped: bool) -> int:
    """Where the first quote is that no backslash escapes; -1 if there is none."""
    for at, byte in enumerate(raw):
        if byte == _QUOTE and not escaped:
            return at
        escaped = byte == _BACKSLASH and not escaped
    return -1


def _add(ends: dict[bytes, list[int]], raw: bytes, end: int, token: int) -> None:
    if end >= 0:
        ends.setdefault(raw[:end], []).append(token)
