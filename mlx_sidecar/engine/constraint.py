"""Constrained decoding: which tokens may come next, by grammar (llguidance) and by the rules for tags.

A grammar is compiled once per model and text of it; each sequence gets a copy
of the compiled matcher, which costs microseconds. Knows no MLX: what it allows
is a set of bits, 32 tokens a word, lowest bit first.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, TypeVar

import numpy as np
from llguidance import LLMatcher, LLParserLimits, LLTokenizer
from numpy.typing import NDArray

from mlx_sidecar.engine.alike import fold
from mlx_sidecar.engine.closed_schema import close
from mlx_sidecar.engine.complexity import refuse_too_complex, refuse_too_long
from mlx_sidecar.engine.job import Constraint, JsonSchema, OneOf, TagLines
from mlx_sidecar.engine.json_keys import JsonKeys, QuoteTokens
from mlx_sidecar.engine.tokenizer import Tokenizer
from mlx_sidecar.engine.vocabulary import Vocabulary
from mlx_sidecar.errors import InvalidParams, ModelUnsupported
from mlx_sidecar.protocol.requests import MAX_TAG_CHARS

Bits = NDArray[np.int32]

_LIMITS = LLParserLimits(max_items_in_row=20_000, step_max_items=200_000)
"""Ten and four times what llguidance allows by itself: objects with some thousand optional properties."""

_LIMIT = re.compile(r"too (?:many|big|complex)|fuel|determine if regex is empty|precomputation")
"""How llguidance speaks of its limits."""

_LLGUIDANCE_OPTIONS = "x-guidance"
"""A keyword with which a schema could have llguidance overlook what it doesn't know."""

_JSON_FORM = {
    # A model may go on with blanks between two values for ever, if it may write any.
    "whitespace_flexible": False,
    # As models have seen most JSON, and as Python's `json.dumps` writes it. Regular expressions.
    "item_separator": ", ",
    "key_separator": ": ",
    # Its branches are known to exclude each other: see closed_schema.
    "coerce_one_of": True,
}
"""How llguidance writes JSON."""

_KEPT = 16
"""Compiled grammars, and vocabularies, that a model keeps."""

Key = TypeVar("Key")
Value = TypeVar("Value")

_SPELLING = {"Prepend", "Replace", "ByteLevel"}
"""Normalizers of `tokenizers` that change how a text is spelled in tokens, not which text it is."""

_MOST_REPEATS = 3
"""So many lines in a row may be tags that are there already; then the list ends: it goes in circles."""

# A tag of the model's own: it starts with a letter or digit and holds no quotes, commas or brackets.
_FREE_TAG = rf" ?[\p{{L}}\p{{N}}][\p{{L}}\p{{M}}\p{{N}} '’&+#./_-]{{0,{MAX_TAG_CHARS - 1}}}"


class ConstraintError(Exception):
    """A sequence left its grammar. Says nothing of the text: exceptions are logged."""


class Constrained(ABC):
    """What one sequence may say next. Told of each of its tokens, asked before the next one is chosen.

    Neither raises: the sequence's neighbours would suffer. What went wrong is in
    `problem`, and the end is the only token that is allowed from then on.
    """

    def __init__(self, matcher: LLMatcher, eos_ids: frozenset[int], vocabulary_size: int) -> None:
        self._matcher, self._eos_ids = matcher, eos_ids
        self._words = (vocabulary_size + 31) // 32
        self._opening: int | None = None
        self._marker: tuple[int, ...] = ()
        self._latest: deque[int] = deque()
        self.problem: BaseException | None = None

    def let_think(self, opening: int | None, marker: tuple[int, ...]) -> None:
        """Leave the sequence free from the token `opening` (None: from the start) until the tokens of `marker` came.

        It may do without any thinking: then it is held from its first token on.
        """
        self._opening, self._latest = opening, deque(maxlen=len(marker))
        self._marker = marker

    def take(self, token: int) -> None:
        """The sequence has this token now."""
        try:
            if self._opening is not None:
                self._open(token)
            elif self._marker:
                self._wait(token)
            else:
                self._consume(token)
        except BaseException as problem:  # anything: see the class's docstring
            self.problem = problem

    def allowed(self) -> Bits:
        """The tokens that may be next, as bits."""
        try:
            if self.problem is None:
                return self._thinking() if self._marker else self._allowed()
        except BaseException as problem:  # anything: see the class's docstring
            self.problem = problem
        return self._only(self._eos_ids)

    def _thinking(self) -> Bits:
        if self._opening is not None:
            bits = self._allowed()
            _set(bits, [self._opening], True)
        else:
            bits = np.full(self._words, -1, dtype=np.int32)
            _set(bits, self._eos_ids, False)
        return bits

    def _open(self, token: int) -> None:
        thinks, self._opening = token == self._opening, None
        if not thinks:
            self._marker = ()
            self._consume(token)

    def _wait(self, token: int) -> None:
        self._latest.append(token)
        if tuple(self._latest) == self._marker:
            self._marker = ()

    @abstractmethod
    def _consume(self, token: int) -> None:
        """A token was chosen."""

    @abstractmethod
    def _allowed(self) -> Bits:
        """Which tokens may be next."""

    def _is_complete(self) -> bool:
        """Whether the grammar lets nothing more follow. A matcher in error has stopped, too."""
        return bool(self._matcher.is_stopped() and not self._matcher.is_error())

    def _from_matcher(self) -> Bits:
        bits = np.zeros(self._words, dtype=np.int32)
        if not self._matcher.is_error():
            found = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.int32)[: self._words]
            bits[: len(found)] = found
        if self._matcher.is_error():
            reason = _first_line(self._matcher.get_error())
            if "satisfy the grammar" in reason:
                raise ConstraintError("a token was chosen that the grammar forbids")
            raise InvalidParams(
                f"the schema or the choices are too complex for this answer: {reason}; make them simpler"
            )
        return bits

    def _only(self, tokens: frozenset[int]) -> Bits:
        bits = np.zeros(self._words, dtype=np.int32)
        _set(bits, tokens, True)
        return bits


def _set(bits: Bits, tokens: Iterable[int], on: bool) -> None:
    view = bits.view(np.uint32)
    for token in tokens:
        if token // 32 < len(view):
            one = np.uint32(1 << (token % 32))
            view[token // 32] = view[token // 32] | one if on else view[token // 32] & ~one


class GrammarConstrained(Constrained):
    """Holds a sequence to a grammar from its first token to its end."""

    def _consume(self, token: int) -> None:
        if not self._matcher.is_stopped():
            self._matcher.consume_token(token)

    def _allowed(self) -> Bits:
        # The matcher stops before EOS; without EOS forced here, junk follows.
        return self._only(self._eos_ids) if self._is_complete() else self._from_matcher()


class SchemaConstrained(GrammarConstrained):
    """Holds a sequence to the grammar of a schema, and keeps the names of each of its objects apart."""

    def __init__(
        self, matcher: LLMatcher, eos_ids: frozenset[int], vocabulary_size: int, quotes: QuoteTokens, patterns: bool
    ) -> None:
        super().__init__(matcher, eos_ids, vocabulary_size)
        self._keys = JsonKeys(quotes, self._after if patterns else None)

    def _consume(self, token: int) -> None:
        super()._consume(token)
        self._keys.take(token)

    def _allowed(self) -> Bits:
        return self._keys.without_repeats(super()._allowed())

    def _after(self, token: int) -> Bits:
        ahead = GrammarConstrained(self._matcher.deep_copy(), self._eos_ids, 32 * self._words)
        ahead.take(token)
        return ahead.allowed()


class ClosedVocabulary:
    """The tags that there are, sorted as bytes, so that a prefix is found by bisection."""

    def __init__(self, tags: Sequence[str], vocabulary: Vocabulary) -> None:
        alike: dict[str, list[bytes]] = {}
        for tag in dict.fromkeys(tags):
            alike.setdefault(fold(tag), []).append(tag.encode())
        self._alike, self._vocabulary = alike, vocabulary
        self._tags = sorted(tag for group in alike.values() for tag in group)

    def __len__(self) -> int:
        return len(self._alike)

    def choice(self) -> VocabularyChoice:
        """All of them still to choose from."""
        return VocabularyChoice(list(self._tags), self._alike, self._vocabulary)


class VocabularyChoice:
    """Which tags of a closed vocabulary are left for one sequence."""

    def __init__(self, left: list[bytes], alike: dict[str, list[bytes]], vocabulary: Vocabulary) -> None:
        self._left, self._alike, self._vocabulary = left, alike, vocabulary
        self._gone: list[bytes] = []

    def take(self, folded: str) -> None:
        """This tag is used, and with it all that are the same tag."""
        for tag in self._alike.get(folded, ()):
            at = bisect_left(self._left, tag)
            if at < len(self._left) and self._left[at] == tag:
                self._gone.append(self._left.pop(at))

    def dead_ends(self, line: bytes) -> set[int]:
        """Tokens after which this line can only become a tag that was used."""
        begun, ids_of = line.lstrip(b" "), self._vocabulary.ids_of
        dead: set[int] = set()
        for tag in self._gone:
            if tag.startswith(begun):
                rests = (tag[len(begun) :], b" " + tag) if not begun else (tag[len(begun) :],)
                ends = (rest[:end] for rest in rests for end in range(1, len(rest) + 1) if rest[:end] in ids_of)
                dead.update(token for end in ends if self._is_dead((line + end).lstrip(b" ")) for token in ids_of[end])
        return dead

    def _is_dead(self, begun: bytes) -> bool:
        at = bisect_left(self._left, begun)
        return at == len(self._left) or not self._left[at].startswith(begun)


class TagsConstrained(Constrained):
    """Holds a sequence to tags, one a line.

    The grammar is that of one tag and starts anew on each line. A tag of the
    model's own that is there already may be closed like any other, since a model
    that may not is driven on into nonsense; it doesn't count, and the task drops
    it. In a closed vocabulary nothing may be begun that can only end in a tag
    that is there already: what is left there always makes sense.
    """

    def __init__(
        self,
        matcher: LLMatcher,
        tokenizer: LLTokenizer,
        newline_ids: frozenset[int],
        eos_ids: frozenset[int],
        max_tags: int,
        closed: ClosedVocabulary | None,
    ) -> None:
        super().__init__(matcher.deep_copy(), eos_ids, tokenizer.vocab_size)
        self._fresh, self._tokenizer, self._newline_ids = matcher, tokenizer, newline_ids
        self._left = min(max_tags, len(closed)) if closed else max_tags
        self._choice = closed.choice() if closed else None
        self._used: set[str] = set()
        self._repeats = 0
        self._line = b""

    def _consume(self, token: int) -> None:
        if token in self._newline_ids:
            self._close_line()
        elif token not in self._eos_ids:
            self._matcher.consume_token(token)
            self._line += self._tokenizer.decode_bytes([token])

    def _close_line(self) -> None:
        if self._is_new():
            self._take_tag(self._folded())
        else:
            self._repeats += 1
        self._line, self._matcher = b"", self._fresh.deep_copy()

    def _take_tag(self, folded: str) -> None:
        self._used.add(folded)
        if self._choice:
            self._choice.take(folded)
        self._left -= 1
        self._repeats = 0

    def _is_new(self) -> bool:
        return self._folded() not in self._used

    def _folded(self) -> str:
        return fold(self._line.decode("utf-8", "replace"))

    def _allowed(self) -> Bits:
        if self._repeats >= _MOST_REPEATS:
            return self._only(self._eos_ids)
        accepting = self._matcher.is_accepting()
        bits = self._only(frozenset()) if self._is_complete() else self._from_matcher()
        _set(bits, self._eos_ids, False)
        if self._choice is not None and self._used:
            _set(bits, self._choice.dead_ends(self._line), False)
        # A line that can't go on is closed, whatever it holds.
        if not bits.any() or self._may_end(accepting):
            _set(bits, self._eos_ids, True)
            if accepting and (self._left > 1 or not self._is_new()):
                _set(bits, self._newline_ids, True)
        return bits

    def _may_end(self, accepting: bool) -> bool:
        """Whether the list may end here: after a tag, or where a next one would begin."""
        if not self._line:
            return bool(self._used)
        return accepting and (self._choice is None or self._is_new())


class Constraints:
    """Compiles constraints for one model and keeps the latest of them."""

    def __init__(self, tokenizer: Tokenizer, vocabulary: Vocabulary, vocabulary_size: int, eos: frozenset[int]) -> None:
        self._tokenizer, self._vocabulary = tokenizer, vocabulary
        self._vocabulary_size, self._eos_ids = vocabulary_size, eos
        self._lookup: LLTokenizer | None = None
        self._quotes: QuoteTokens | None = None
        self._compiled: OrderedDict[Hashable, LLMatcher] = OrderedDict()
        self._closed: OrderedDict[tuple[str, ...], ClosedVocabulary] = OrderedDict()

    def make(self, constraint: Constraint) -> Constrained:
        """A processor for one sequence. Raises InvalidParams where the constraint can't be honoured."""
        if not self._eos_ids:
            raise ModelUnsupported("this model names no end token, which tags, 'schema' and 'choices' need")
        match constraint:
            case TagLines():
                if not self._vocabulary.newline_ids:
                    raise ModelUnsupported("this model's tokenizer has no line break, which tags need")
                return self._make_tags(constraint)
            case OneOf(choices):
                matcher = self._matcher("choices", choices, lambda: _one_of("choices", choices))
            case JsonSchema(schema):
                text = _spelled(schema)
                matcher = self._matcher("schema", text, lambda: _json_grammar(schema, text))
                self._quotes = self._quotes or QuoteTokens(self._vocabulary)
                patterns = "patternProperties" in text or ("propertyNames" in text and '"pattern"' in text)
                size = self._ll_tokenizer().vocab_size
                return SchemaConstrained(matcher.deep_copy(), self._eos_ids, size, self._quotes, patterns)
        return GrammarConstrained(matcher.deep_copy(), self._eos_ids, self._ll_tokenizer().vocab_size)

    def _make_tags(self, tags: TagLines) -> TagsConstrained:
        only = tags.only
        matcher = self._matcher(
            "vocabulary", only, lambda: _one_of("vocabulary", only, " ?") if only else _regex(_FREE_TAG)
        )
        closed = _remember(self._closed, only, lambda: ClosedVocabulary(only, self._vocabulary)) if only else None
        newline_ids = self._vocabulary.newline_ids
        return TagsConstrained(matcher, self._ll_tokenizer(), newline_ids, self._eos_ids, tags.max_tags, closed)

    def _matcher(self, field: str, key: Hashable, grammar: Callable[[], str]) -> LLMatcher:
        return _remember(self._compiled, (field, key), lambda: self._compile(field, grammar()))

    def _compile(self, field: str, grammar: str) -> LLMatcher:
        matcher = LLMatcher(self._ll_tokenizer(), grammar, log_level=0, limits=_LIMITS)
        if not matcher.is_error():
            # Some errors come to light with the first mask only.
            matcher.compute_bitmask()
        if matcher.is_error():
            raise InvalidParams(f"field '{field}'{_reason(matcher.get_error())}", {"field": field})
        return matcher

    def _ll_tokenizer(self) -> LLTokenizer:
        if self._lookup is None:
            eos = sorted(self._eos_ids)
            size = max(self._vocabulary_size, len(self._vocabulary))
            described = json.loads(self._tokenizer.without_markers)
            described["normalizer"] = _spelling_only(described["normalizer"])
            try:
                self._lookup = LLTokenizer(json.dumps(described), n_vocab=size, eos_token=eos or None)
            except ValueError as problem:  # it knows the bytes of tokens from two kinds of decoders only
                kind = (described["decoder"] or {}).get("type", "no")
                raise ModelUnsupported(
                    f"this model's tokenizer (with {kind} decoder) can't be held to tags, 'schema' or 'choices': "
                    f"{_first_line(str(problem))}"
                ) from None
        return self._lookup


def _spelling_only(normalizer: dict[str, Any] | None) -> dict[str, Any] | None:
    """What of a normalizer says how tokens spell a text, as for blanks.

    The rest makes another text of it: a choice that isn't in the composed form would be forced in tokens that the
    grammar, which has the choice as it was given, then forbids.
    """
    steps = normalizer.get("normalizers", [normalizer]) if normalizer else []
    kept = [step for step in steps if step["type"] in _SPELLING]
    return {"type": "Sequence", "normalizers": kept} if kept else None


def _remember(kept: OrderedDict[Key, Value], key: Key, make: Callable[[], Value]) -> Value:
    """The value made for this key before, or a new one; only the latest few are kept."""
    if key not in kept:
        kept[key] = make()
    kept.move_to_end(key)
    while len(kept) > _KEPT:
        kept.popitem(last=False)
    return kept[key]


def _one_of(field: str, choices: Sequence[str], before: str = "") -> str:
    """A grammar for these very strings, after what the regular expression `before` takes."""
    refuse_too_long(field, choices)
    escaped = (re.sub(r"[\\.+*?()|\[\]{}^$#&~-]", r"\\\g<0>", choice) for choice in choices)
    return _regex(f"{before}(?:{'|'.join(escaped)})")


def _regex(pattern: str) -> str:
    return str(LLMatcher.grammar_from_regex(pattern))


def _spelled(schema: dict[str, Any]) -> str:
    try:
        return json.dumps(schema)
    except RecursionError:
        raise InvalidParams("field 'schema' is nested too deep", {"field": "schema"}) from None


def _json_grammar(schema: dict[str, Any], text: str) -> str:
    refuse_too_complex(schema, text)
    try:
        closed = close({key: value for key, value in schema.items() if key != _LLGUIDANCE_OPTIONS})
        text = json.dumps(closed)
        refuse_too_complex(closed, text)
        return str(LLMatcher.grammar_from_json_schema(text, overrides=_JSON_FORM))
    except RecursionError:
        raise InvalidParams("field 'schema' is nested too deep", {"field": "schema"}) from None
    except ValueError as problem:
        raise InvalidParams(f"field 'schema': {_first_line(str(problem))}", {"field": "schema"}) from None


def _reason(message: str) -> str:
    """What llguidance says, and where it is a limit of its own what to do."""
    reason = _first_line(message)
    return f" is too complex, make it simpler: {reason}" if _LIMIT.search(reason) else f": {reason}"


def _first_line(message: str) -> str:
    return message.strip().splitlines()[0][:300] if message.strip() else "can't be compiled"
