"""A text filter that keeps a model from saying the same thing again and again.

A small model that always takes the likeliest token falls into one sentence, or
one row of words, and says it until the limit of tokens. The filter works on
words without case and punctuation; a sign of a script that is written without
blanks counts as a word of half the weight.

A penalty on phrases that come again (DRY) was tried instead of ending a text that goes in circles: the model then
says the same with other words (63 words a summary instead of 45). Ending a one-sentence summary with its first
sentence leaves 17 (2026-11-29).
"""

from __future__ import annotations

import re
import unicodedata
from collections import deque
from collections.abc import Sequence

from mlx_sidecar.engine.job import TextFilter
from mlx_sidecar.tasks.clauses import COORDINATING, DANGLING
from mlx_sidecar.tasks.sentences import ABBREVIATION_CHARS, sentence_ends
from mlx_sidecar.tasks.words import UNSPACED

# "5 %" is not "5 €", nor "C#" "C".
_SYMBOLS = "#$%&+<=>@°±×÷£¥\u20a0-\u20cf\u2190-\u2bff\U0001f000-\U0001faff"
_is_unspaced = re.compile(f"[{UNSPACED}]").match
# Vowel signs and accents belong to the word, and so do invisible joiners.
_MARKS = "\u00ad\u200c\u200d" + "".join(
    chr(code)
    for code in range(0x300, 0x2000)
    if unicodedata.category(chr(code)).startswith("M") and not _is_unspaced(chr(code))
)
_LONGEST_WORD = 64
_WORD = re.compile(rf"[{UNSPACED}{_SYMBOLS}]|[^\W_{UNSPACED}](?:[^\W_{UNSPACED}]|[{_MARKS}]){{0,{_LONGEST_WORD - 1}}}")
_HAS_LETTER = re.compile(r"[^\W\d_]").search
_CLAUSE_END = re.compile(r"[,;:][\"'”’)\]]*\s|\s[-–]\s|[—、，；：،؛]").search
_CLOSING = re.compile(r"[.!?…。！？]?[\"'”’)\]」』]*")
_AFTER_NUMBER = re.compile(r"[.)]\s").match
_NEW_LINE = re.compile(r"\s*\n\s*(?:- )?")

# Weights are in half words.
_CLAUSE_WEIGHT = 12
_LONE_WORD_WEIGHT = 6
_NUMBERS_WEIGHT = 24
_TELLING_WEIGHT = 8
_LONGEST_PERIOD = 200
_LONGEST_GAP = 64
_REPEATS_IN_A_ROW = 2


class NoRepetition(TextFilter):
    """Drops a sentence that was there before, and ends a text that goes in circles.

    A sentence that begins like an earlier one is held back until it differs or is
    dropped. Two dropped in a row end the text: one may be a slip, and the dropped line
    of a list is no reason to lose the next, but a model that says two sentences again
    goes on like that. Words that go in circles within a sentence end the text before
    the second round, and so does a clause of six words or more that its sentence has
    had already, unless the sentence ends with it: then only the clause is dropped.
    """

    def __init__(self) -> None:
        self._text, self._wordless = "", 0
        self._earlier = _Node()
        self._sentence = _Sentence(self._earlier)
        self._repeats = 0
        self._new_line = ""
        self._is_cut = False

    def feed(self, text: str) -> str:
        """The text up to the last whole word, less what may turn out to be a repetition."""
        if self.ended:
            return ""
        self._text += text
        given = self._take_words(final=False)
        gap = self._text[: self._wordless]
        return given + self._end_in(gap) if not self.ended and _is_endless(gap) else given

    def cut_short(self) -> None:
        """What is held may be half a sentence."""
        self._is_cut = True

    def finish(self) -> str:
        """What was held back, unless it is a repetition, or the best part of one that a limit has cut."""
        if self.ended:
            return ""
        if self._is_cut and self._sentence.may_be_earlier and self._sentence.weight >= _TELLING_WEIGHT:
            self.ended = "stop"
            return ""
        given = self._take_words(final=True)
        if self.ended:
            return given
        closing, self._text = self._text, ""
        if _is_endless(closing):
            return given + self._end_in(closing)
        return given + (self._close(closing) if self._sentence.words else closing)

    def _take_words(self, *, final: bool) -> str:
        """All words that are whole. No character is looked at more often than its word gets longer."""
        given, at = list[str](), 0
        for found in _WORD.finditer(self._text, self._wordless):
            if found.end() == len(self._text) and not final and _may_grow(found[0]):
                self._text, self._wordless = self._text[at:], found.start() - at
                return "".join(given)
            given.append(self._take(self._text[at : found.start()], found[0]))
            at = found.end()
            if self.ended:
                break
        self._text = "" if self.ended else self._text[at:]
        self._wordless = len(self._text)
        return "".join(given)

    def _take(self, gap: str, word: str) -> str:
        """One more word, and what stands between the last one and it."""
        if _is_endless(gap):
            return self._end_in(gap)
        given = ""
        end = self._sentence_end(gap, word[0])
        if end is not None:
            given, gap = self._close(gap[:end]), gap[end:]
            if self.ended:
                return given
        elif self._sentence.is_number and _AFTER_NUMBER(gap):
            # The number of a point isn't part of what it says.
            gap, self._sentence = self._sentence.rest() + gap, _Sentence(self._earlier, is_numbered=True)
        if self._new_line and not self._sentence.words:
            gap, self._new_line = (gap if "\n" in gap else self._new_line + gap.lstrip()), ""
        key = unicodedata.normalize("NFKC", word).casefold()
        if _CLAUSE_END(gap) and (clause := self._sentence.end_clause()) is not None:
            return given + self._end_before(clause)
        given += self._sentence.add(gap + word, key)
        loop = self._sentence.loop()
        return given if loop is None else given + self._end_before(loop)

    def _sentence_end(self, gap: str, following: str) -> int | None:
        """Where in the gap the sentence ends; None if it goes on."""
        words = self._sentence.words
        if not gap or not words:
            return None
        if "\n" in gap:
            return len(gap[: gap.rindex("\n")].rstrip())
        if len(words) == 1 and gap[0] == "." and not _is_unspaced(words[0]):
            # An abbreviation that isn't on the list, more likely than a sentence.
            return None
        before = self._sentence.tail()
        return max((end - len(before) for end in sentence_ends(before + gap + following, len(before))), default=None)

    def _close(self, closing: str) -> str:
        """The sentence is complete."""
        sentence, self._sentence = self._sentence, _Sentence(self._earlier)
        clause = sentence.end_clause()
        kept = len(sentence.words) if clause is None else sentence.trimmed(clause)
        if self._earlier.has(sentence.words[:kept]):
            self._repeats += 1
            self.ended = "stop" if self._repeats == _REPEATS_IN_A_ROW else None
            self._new_line = self._new_line or sentence.new_line()
            return ""
        self._repeats = 0
        self._earlier.add(sentence.words[:kept])
        return sentence.rest(kept) + closing

    def _end_before(self, repetition: int) -> str:
        """The text ends before this word of the sentence, with what is whole."""
        self.ended = "stop"
        kept = self._sentence.trimmed(repetition)
        if not kept and not self._earlier.following:
            # There would be no text at all.
            kept = repetition
        if self._earlier.has(self._sentence.words[:kept]):
            return ""
        return self._sentence.rest(kept) + self._sentence.closing(kept)

    def _end_in(self, gap: str) -> str:
        """The text ends with its last word, for only signs follow; the mark at its end is kept."""
        closing = _CLOSING.match(gap)
        given = self._close(closing[0] if closing else "") if self._sentence.words else ""
        self.ended, self._text = "stop", ""
        return given


def _may_grow(word: str) -> bool:
    """Whether more of the word may follow; a sign that is a word by itself is whole."""
    return len(word) < _LONGEST_WORD and word[0].isalnum() and not _is_unspaced(word)


def _is_endless(gap: str) -> bool:
    """Whether these are too many signs without a word: dots or dashes without end."""
    return len(gap) > _LONGEST_GAP and sum(map(len, gap.split())) > _LONGEST_GAP


class _Node:
    """A tree of sentences, a word a step. The empty sentence counts as said."""

    __slots__ = ("following", "is_sentence")

    def __init__(self) -> None:
        self.following: dict[str, _Node] = {}
        self.is_sentence = False

    def add(self, words: Sequence[str]) -> None:
        """Remember a sentence."""
        node = self
        for word in words:
            node = node.following.setdefault(word, _Node())
        node.is_sentence = True

    def has(self, words: Sequence[str]) -> bool:
        """Whether this very sentence was there."""
        node: _Node | None = self
        for word in words:
            node = node.following.get(word) if node else None
        return not words or (node is not None and node.is_sentence)


class _Sentence:
    """A sentence that comes word by word: what of it is given, and what it repeats, of earlier ones and of itself."""

    def __init__(self, earlier: _Node, *, is_numbered: bool = False) -> None:
        self._is_numbered = is_numbered
        self.words: list[str] = []
        self._units: list[str] = []
        self._given = 0
        self._earlier: _Node | None = earlier
        self._earlier_words = 0
        self._weights, self._letters = [0], [0]
        self._places: dict[str, deque[int]] = {}
        # For each distance: how many of the last words are the same as the words that far before them.
        self._runs: dict[int, int] = {}
        self._clause = 0
        self._clause_ends = set[int]()

    @property
    def weight(self) -> int:
        """Of all words."""
        return self._weights[-1]

    @property
    def may_be_earlier(self) -> bool:
        """Whether an earlier sentence begins with the same words."""
        return self._earlier is not None

    @property
    def is_number(self) -> bool:
        """Whether there is nothing yet but a number, as before a point of a list."""
        words = self.words
        return len(words) == 1 and words[0].isdecimal() and len(words[0]) <= 2 and not self._is_numbered

    def add(self, unit: str, word: str) -> str:
        """Take a word and the text that it comes in; gives the text that can't be a repetition any more."""
        place = len(self.words)
        if word in COORDINATING and self._clause == place:
            self._clause = place + 1
        self._units.append(unit)
        self.words.append(word)
        self._weights.append(self._weights[-1] + (1 if _is_unspaced(word) else 2))
        self._letters.append(self._letters[-1] + bool(_HAS_LETTER(word)))
        self._follow_runs(place, word)
        self._follow_earlier(word)
        if self.is_number or self._earlier:
            return ""
        certain = self.trimmed(place + 1 - max(self._runs.values(), default=0))
        # What an earlier sentence said in full may be all that a cut leaves of this one.
        return self.rest(certain) if certain > self._earlier_words else ""

    def _follow_runs(self, place: int, word: str) -> None:
        places = self._places.setdefault(word, deque())
        while places and place - places[0] > _LONGEST_PERIOD:
            places.popleft()
        self._runs = {place - before: self._runs.get(place - before, 0) + 1 for before in places}
        places.append(place)

    def _follow_earlier(self, word: str) -> None:
        self._earlier = self._earlier.following.get(word) if self._earlier else None
        if self._earlier and self._earlier.is_sentence:
            self._earlier_words = len(self.words)

    def loop(self) -> int | None:
        """Where to end the sentence if its words go in circles: before the second round, or its first whole clause."""
        rounds = [len(self.words) - run for period, run in self._runs.items() if self._is_loop(period, run)]
        if not rounds:
            return None
        begin = min(rounds)
        return min((end for end in self._clause_ends if end >= begin), default=begin)

    def _is_loop(self, period: int, run: int) -> bool:
        """Whether that many words that repeat those `period` before are too many.

        Six words come twice in succession by mistake only, fewer may be a figure of
        speech the second time. Numbers may be a table.
        """
        if run < period:
            return False
        end = len(self.words)
        repeated = self._weights[end] - self._weights[end - run]
        if self._letters[end] == self._letters[end - period]:
            return repeated >= _NUMBERS_WEIGHT
        if self._weights[end] - self._weights[end - period] >= _CLAUSE_WEIGHT:
            return True
        return run >= 2 * period and repeated >= _LONE_WORD_WEIGHT

    def end_clause(self) -> int | None:
        """A clause ends here; where it began if one before ended in the same words and they are enough to tell."""
        start, end = self._clause, len(self.words)
        is_repeated = self._weights[end] - self._weights[min(start, end)] >= _CLAUSE_WEIGHT and any(
            run >= end - start and end - period in self._clause_ends for period, run in self._runs.items()
        )
        self._clause_ends.add(end)
        self._clause = end
        return start if is_repeated else None

    def trimmed(self, end: int) -> int:
        """The words before `end`, less those that no text ends in."""
        while end and self.words[end - 1] in DANGLING:
            end -= 1
        return end

    def rest(self, end: int | None = None) -> str:
        """The text up to a word that wasn't given yet; it is given now."""
        text = "".join(self._units[self._given : end])
        self._given = max(self._given, len(self._units) if end is None else end)
        return text

    def closing(self, end: int) -> str:
        """The full stop before this word, if there is one: before a small letter none ends a sentence."""
        found = _CLOSING.match(self._units[end])
        return found[0] if found and self._units[end][found.end() :][:1].isspace() else ""

    def tail(self) -> str:
        """The last characters, enough to tell an abbreviation."""
        return "".join(self._units[-ABBREVIATION_CHARS:])[-ABBREVIATION_CHARS:]

    def new_line(self) -> str:
        """The line break, and the dash of a point, that it begins with."""
        found = _NEW_LINE.match(self._units[0])
        return found[0] if found else ""
