"""Lists of tags as models write them: the grammar that holds a model to one, and how one is read.

A model may separate its tags with commas, semicolons or line breaks, number them,
write them as bullets, hashtags or a JSON list, and put "Tags:" before them. What
it writes of a tag is held to words: at most so many, each of letters, digits and
what names are made of.

The task drops repeats and ends the list: after `max_tags` it stops reading instead of forcing the end token, since a
forced end overrules the model at one token in ten. Where an item begins, tokens that began earlier items lose 3 nats:
SmolLM2 gave three right tags in 12 of 24 texts instead of 7. The engine knows no tags, only grammars (2026-11-28).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from mlx_sidecar.control_characters import CONTROLS_BUT_BLANKS, FILLERS, HIDDEN, TAGS
from mlx_sidecar.engine.job import Grammar, TextFilter
from mlx_sidecar.protocol.requests import MAX_TAG_CHARS
from mlx_sidecar.tag_key import tag_key

MAX_REPEATS = 2
"""After so many tags in a row that are in the list already, the list is over: the model goes in circles."""

_SPARE_WORDS = 3
_CHARS_PER_WORD = 4
"""How many characters of a script without blanks stand for one word."""

# "C++", "node.js", "@types/node", ".NET", "R&D", "don't" are words; so is a lone ampersand ("food & drink").
# Persian and the scripts of India need joiners within words.
_IN_WORD = r"\p{L}\p{M}\p{N}'’&+#.\/_%°-"
_WORD = rf"\.?[@$€£]?[\p{{L}}\p{{N}}][{_IN_WORD}]*([\u200c\u200d][{_IN_WORD}]+)*"
_QUOTE = "[\"'“”„‘’«»`*]{0,2}"
_GRAMMAR = r"""
start: LIST
LIST: /\s?(\[ ?)?([Tt]ags ?: ?\n?)?/ ITEM (SEPARATOR ITEM)* / ?\]?\.?\s?/
ITEM: /([-*•#] ?|\d{1,2}[.)] )?QUOTE/ TAG /QUOTE/
SEPARATOR: / ?([,;、，；]\s?|\n{1,2} ?)| (#|· |\| )/
TAG: TAGS
"""

_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)
_SEPARATORS = re.compile(r"[,;、，；\n]|(?<=\s)[#·|](?=\S)|(?<=\s)[·|](?=\s)")
_PREFACE = re.compile(r"^\s*\[?\s*tags\s*:", re.IGNORECASE)
_SEPARATOR_CHARS = 2
"""The most characters that a separator needs around it to be one."""

_SENTENCE_WORDS = 3
"""So many words with a full stop behind them are a sentence."""

_NO_TAGS = frozenset(map(tag_key, ("none", "n/a", "na", "no tags", "nothing", "null", "untitled", "unknown")))
_MARK = re.compile(r"^(?:[-*•#]+ ?|\d{1,2}[.)] )")
_UNSEEN = re.compile(rf"[{CONTROLS_BUT_BLANKS}{HIDDEN}{TAGS}{FILLERS}]")
_AROUND = " \t\"'“”„‘’«»`*[]"


def tag_list_grammar(max_words: int, vocabulary: Sequence[str], repeat_penalty_nats: float = 0.0) -> Grammar:
    """Hold a model to a list of tags of few words each; those of a vocabulary may be anything.

    A tag may have some words more than `max_words`. A model that has to end a tag in the middle of what it says glues
    the next word to the last one, or leaves a fragment; let go on, it shows that this is no tag.
    """
    tags = [_free(max_words + _SPARE_WORDS), *map(_literal, vocabulary)]
    lark = _GRAMMAR.replace("TAGS", "\n  | ".join(tags)).replace("QUOTE", _QUOTE)
    return Grammar(lark, "vocabulary" if vocabulary else "max_tag_words", repeat_penalty_nats)


def _free(max_words: int) -> str:
    """Words of the model's own. How long they are isn't counted here: each count multiplies the grammar's states."""
    return rf"/{_WORD}( ({_WORD}|&)){{0,{max_words - 1}}}/"


def _literal(tag: str) -> str:
    return "/" + re.sub(r"[\\.+*?()|\[\]{}^$#&~/-]", r"\\\g<0>", tag) + "/"


class TagReader:
    """Reads the tags out of what a model wrote; with a vocabulary its entries come out as they are spelled there."""

    def __init__(self, max_words: int, vocabulary: Sequence[str]) -> None:
        self._max_words = max_words
        self._entries = frozenset(vocabulary)
        # Behind a blank, as in a list, a "#" or "|" that an entry begins with looks like a separator.
        self._most_cuts = max((len(_SEPARATORS.findall(f" {tag}")) for tag in self._entries), default=0)
        self._like_prefaces = tuple(tag for tag in self._entries if _PREFACE.match(tag))

    def read(self, text: str, *, is_whole: bool = True) -> list[str]:
        """The tags in their order, each as often as it stands there. What has too many words is none.

        Without `is_whole` the text was cut: what stands after its last separator is the beginning of a tag, and none.
        """
        return [
            tag
            for item in self._items(text, is_whole=is_whole)
            if not self._is_sentence(item) and (tag := self._tag(item)) and self.is_tag(tag)
        ]

    def read_beginnings(self, text: str) -> list[str]:
        """For a text in which no tag has few enough words: as many words of each item as a tag may have."""
        return [tag for item in self._items(text, is_whole=True) if (tag := self._beginning(self._tag(item)))]

    def _items(self, text: str, *, is_whole: bool) -> list[str]:
        if not text.lstrip().startswith(self._like_prefaces):
            text = _PREFACE.sub("", text, count=1)
        bounds = [(0, 0), *(found.span() for found in _SEPARATORS.finditer(text)), (len(text), len(text))]
        items: list[str] = []
        at, last = 0, len(bounds) - 1
        while at < last:
            # An entry may hold a comma: the longest one that stands here is meant.
            ends = range(min(at + 1 + self._most_cuts, last), at, -1)
            spans = ((start, bounds[end][0], end) for end in ends for start in reversed(bounds[at]))
            plain = (bounds[at][1], bounds[at + 1][0], at + 1)
            start, stop, end = next((span for span in spans if self._entry(text[span[0] : span[1]])), plain)
            if end < last or is_whole:
                items.append(text[start:stop])
            at = end
        return items

    def _entry(self, item: str) -> str | None:
        """The entry of the vocabulary that this item is, if it is one."""
        plain = _MARK.sub("", item.strip())
        candidates = (item.strip(), plain, item.strip(_AROUND), plain.strip(_AROUND))
        return next((each for each in candidates if each in self._entries), None)

    def _tag(self, item: str) -> str:
        if (entry := self._entry(item)) is not None:
            return entry
        visible = _UNSEEN.sub("", item)
        return " ".join(_MARK.sub("", visible.strip(_AROUND)).strip(_AROUND).rstrip(".").split())

    def is_tag(self, text: str) -> bool:
        """Whether a text is one of the vocabulary's entries, or few enough words and characters, and says something."""
        short = len(text) <= MAX_TAG_CHARS and len(text.split()) <= self._max_words
        few_signs = len(_UNSPACED.findall(text)) <= self._max_words * _CHARS_PER_WORD
        return text in self._entries or (short and few_signs and tag_key(text) not in _NO_TAGS)

    def _is_sentence(self, item: str) -> bool:
        words = item.strip(_AROUND).split()
        return len(words) >= _SENTENCE_WORDS and words[-1][-1] in ".!?。！？" and self._entry(item) is None

    def _beginning(self, tag: str) -> str:
        """Its first words; of a word that is too long by itself, its first characters."""
        words = tag.split()[: self._max_words]
        while len(" ".join(words)) > MAX_TAG_CHARS and len(words) > 1:
            words.pop()
        text = " ".join(words)[:MAX_TAG_CHARS].rstrip(".!?")
        signs = [found.start() for found in _UNSPACED.finditer(text)]
        most = self._max_words * _CHARS_PER_WORD
        return text[: signs[most]] if len(signs) > most else text


def each_once(tags: Sequence[str]) -> list[str]:
    """The first of those that are alike."""
    first: dict[str, str] = {}
    for tag in tags:
        first.setdefault(tag_key(tag), tag)
    return list(first.values())


class TagListEnd(TextFilter):
    """Ends the list after `max_tags` tags, or when the model only repeats itself. Changes no text."""

    def __init__(self, reader: TagReader, max_tags: int) -> None:
        self._reader, self._max_tags, self._text = reader, max_tags, ""

    def feed(self, text: str) -> str:
        """The same text."""
        self._text += text
        if _SEPARATORS.search(self._text, max(0, len(self._text) - len(text) - _SEPARATOR_CHARS)):
            tags = self._reader.read(self._text, is_whole=False)
            repeats = len(tags) - len(each_once(tags))
            latest = tags[-MAX_REPEATS:]
            circles = repeats >= MAX_REPEATS and {tag_key(tag) for tag in latest} <= {
                tag_key(tag) for tag in tags[:-MAX_REPEATS]
            }
            if circles or len(tags) - repeats >= self._max_tags:
                self.ended = "stop"
        return text

    def finish(self) -> str:
        """Nothing was held back."""
        return ""
