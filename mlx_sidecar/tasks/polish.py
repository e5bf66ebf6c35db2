"""Text filters that make a summary out of what a model wrote. Each works on a stream as well as on a whole."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mlx_sidecar.control_characters import CONTROLS, FLAG, HIDDEN, TAGS
from mlx_sidecar.engine.job import TextFilter
from mlx_sidecar.tasks.clauses import WORDS_AHEAD, cut_sentence
from mlx_sidecar.tasks.sentences import sentence_ends
from mlx_sidecar.tasks.words import UNSPACED

_PREAMBLE = re.compile(
    r"^[#*_ ]*(?:(?:sure|certainly|of course|okay|ok)\b[^\n:]{0,20})?(?:based on the (?:document|text|article)[, ]+)?"
    r"(?:here(?:'|’)?s\b|here (?:is|are)\b|this is\b|in summary|the |an? |summary\b(?: of (?:the|this) \w+)?"
    r"|bullet points?\b)(?:[^\n:]{0,60}\b(?:summary|sentence|paragraph|points|bullets?)\b[^\n:]{0,40})?"
    r"(?:[*_]*:[*_]*|(?<=summary)[*_ ]*\n)\s*",
    re.IGNORECASE,
)
_PREAMBLE_WORDS = re.compile(r"\b(?:summary|sentence|paragraph|points?|bullets?)\b", re.IGNORECASE)
_PREAMBLE_STARTS = (
    *("sure", "certainly", "of course", "ok", "here", "this is", "based on", "in summary", "the ", "a ", "an "),
    *("summary", "bullet", "#", "*", "_", "this "),
    *("das dokument", "der text", "der artikel", "le document", "le texte", "l'article", "l’article"),
    *("el documento", "el texto", "el artículo", "il documento", "il testo", "l'articolo", "l’articolo"),
)
_LONGEST_PREAMBLE = 120
# "The text is about a licence" and the like: what follows is the matter.
_ABOUT_ITSELF = re.compile(
    r"(?:the|this)\s+(?:text|document|article|passage|email|e-mail|message|letter|note|report|post|story)\s+"
    r"(?:is\s+about|describes|discusses|explains|outlines|talks\s+about|speaks\s+about|deals\s+with|summarizes|states|"
    r"says|reports|presents|covers|details)\s+(?:that\s+|how\s+)?"
    r"|(?:das\s+dokument|der\s+text|der\s+artikel)\s+(?:beschreibt|behandelt|handelt\s+von|erklärt)\s*,?\s*(?:dass\s+)?"
    r"|(?:le\s+document|le\s+texte|l['’]article)\s+(?:décrit|parle\s+de|présente|explique)\s+(?:que\s+)?"
    r"|(?:el\s+documento|el\s+texto|el\s+artículo)\s+(?:describe|habla\s+de|trata\s+de|trata\s+sobre|explica)\s+(?:que\s+)?"
    r"|(?:il\s+documento|il\s+testo|l['’]articolo)\s+(?:descrive|parla\s+di|tratta\s+di|spiega)\s+(?:che\s+)?",
    re.IGNORECASE,
)
_LEAST_WORDS, _LEAST_UNSPACED = 4, 8
_UNSPACED = re.compile(f"[{UNSPACED}]")
# "12. Oktober"
_ORDINAL = re.compile(r"(?<!\d)\d{1,2}\.$")
_MAY_END = re.compile(r"[.!?…]?[\"'”’)\]]*\s*$")
_QUOTES = {'"': '"', "“": "”", "'": "'", "‘": "’", "«": "»", "„": "“", "「": "」"}
_HAS_WORD = re.compile(rf"[^\W\d_]{{2}}|[{UNSPACED}]")
_SENTENCE_AT_END = re.compile(r"[.!?…。！？][\"'”’)\]]*\s*$")
# A dash right before a digit is a minus sign, and an asterisk right before a word is emphasis.
_BULLET = re.compile(r"^\s*(?:(?:[-*•‣–—·]|\d{1,2}[.)])\s+|[-•‣](?=[^\W\d_]))")
_CONTROLS = re.compile(rf"(?![\n\t])[{CONTROLS}{HIDDEN}]")
_TAG = re.compile(f"[{TAGS}]")


class NoControls(TextFilter):
    """Drops control characters but newline and tab, and hidden ones; what Python takes for a blank becomes one."""

    def __init__(self) -> None:
        self._is_flag = False

    def feed(self, text: str) -> str:
        """The text without them."""
        text = _CONTROLS.sub(lambda found: " " if found[0].isspace() else "", text)
        return "".join(filter(self._may_stay, text))

    def _may_stay(self, sign: str) -> bool:
        if not _TAG.match(sign):
            self._is_flag = sign == FLAG
            return True
        return self._is_flag

    def finish(self) -> str:
        """Nothing is ever held back."""
        return ""


class PreambleFilter(TextFilter):
    """Drops what comes before the summary ("Here is a summary:", "The text is about") and quotation marks around it.

    A text that begins with a quotation mark is held back until it is clear whether
    the quotation is all of it: to its end, or to the first word after the closing mark.
    """

    def __init__(self) -> None:
        self._held = ""
        self._opened = self._begun = False
        self._closing_quote = ""

    def feed(self, text: str) -> str:
        """Text without its opening; its end is held back, for it may be the closing."""
        self._held += text
        if not self._opened:
            if self._may_still_open():
                return ""
            self._open()
        return "" if self._may_be_quoted_whole() else self._all_but_blanks()

    def finish(self) -> str:
        """The end, without blanks and without the quotation marks around the whole."""
        if not self._opened:
            self._open()
        rest, mark = self._held.rstrip(), self._closing_quote
        if self._may_be_quoted_whole() and (rest.endswith(mark) or mark not in "'’"):
            rest = rest[1:].removesuffix(mark).strip()
        self._held = ""
        return rest

    def _may_still_open(self) -> bool:
        begun = self._held.lstrip()
        if len(begun) < 2:
            return True
        if len(begun) >= _LONGEST_PREAMBLE:
            return False
        before, colon, after = begun.partition(":")
        if colon or "\n" in before:
            # What follows a preamble may begin with a quotation mark and something to quote.
            return bool(colon) and len(after.lstrip()) < 2
        begun = begun.lower()
        return any(begun.startswith(start) or start.startswith(begun) for start in _PREAMBLE_STARTS)

    def _open(self) -> None:
        text = self._held.lstrip()
        preamble = _PREAMBLE.match(text, 0, _LONGEST_PREAMBLE)
        if preamble and _PREAMBLE_WORDS.search(preamble[0]):
            text = text[preamble.end() :].lstrip()
        if (about := _ABOUT_ITSELF.match(text)) and len(text) > about.end():
            text = text[about.end()].upper() + text[about.end() + 1 :]
        if len(text) > 1:
            self._closing_quote = _QUOTES.get(text[0], "")
        self._held, self._opened = text, True

    def _may_be_quoted_whole(self) -> bool:
        """Whether all that is there may be one quotation. Once it isn't, the marks belong to the text."""
        if self._closing_quote and not _only_at_end(self._closing_quote, self._held[1:]):
            self._closing_quote = ""
        return bool(self._closing_quote)

    def _all_but_blanks(self) -> str:
        if not self._begun:
            self._held = self._held.lstrip()
        kept = len(self._held.rstrip())
        given, self._held = self._held[:kept], self._held[kept:]
        self._begun = self._begun or bool(given)
        return given


def _only_at_end(mark: str, text: str) -> bool:
    """Whether nothing but blanks follows the first closing mark. An apostrophe within a word is none."""
    closing = re.search(rf"{re.escape(mark)}(?!\w)", text)
    return closing is None or not text[closing.end() :].strip()


class OneSentence(TextFilter):
    """Ends the text with its first sentence, or line, that says something.

    A small model that is asked for a sentence goes on with others, most of them the same.
    """

    def __init__(self) -> None:
        self._text, self._given = "", 0

    def feed(self, text: str) -> str:
        """The text up to that end; signs that may be the end are held back."""
        self._text += text
        for end in sentence_ends(self._text, max(0, self._given - 1)):
            if _says_something(self._text[:end]) and not _ORDINAL.search(self._text, 0, end):
                return self._give(end, ended=True)
        held = _MAY_END.search(self._text, self._given)
        return self._give(held.start() if held else len(self._text))

    def finish(self) -> str:
        """What was held back."""
        return "" if self.ended else self._give(len(self._text))

    def _give(self, end: int, *, ended: bool = False) -> str:
        given, self._given = self._text[self._given : end], max(end, self._given)
        if ended:
            self.ended = "stop"
        return given


def _says_something(text: str) -> bool:
    """Whether this is more than a heading or a greeting."""
    return len(text.split()) >= _LEAST_WORDS or len(_UNSPACED.findall(text)) >= _LEAST_UNSPACED


class SingleLine(TextFilter):
    """Line breaks become blanks."""

    def __init__(self) -> None:
        self._blank = ""
        self._begun = False

    def feed(self, text: str) -> str:
        """The text in one line; blanks are given once it is known that something follows."""
        words = text.split()
        if not words:
            self._blank = " " if text or self._blank else ""
            return ""
        lead = " " if self._begun and (self._blank or text[0].isspace()) else ""
        self._begun, self._blank = True, " " if text[-1].isspace() else ""
        return lead + " ".join(words)

    def finish(self) -> str:
        """Nothing: blanks at the end are dropped."""
        return ""


class Bullets(TextFilter):
    """Each line is a point and starts with "- "."""

    def __init__(self) -> None:
        self._line = ""
        self._first = True

    def feed(self, text: str) -> str:
        """The lines that are complete."""
        *lines, self._line = (self._line + text).split("\n")
        return "".join(self._point(line) for line in lines)

    def finish(self) -> str:
        """The last line."""
        line, self._line = self._line, ""
        return self._point(line)

    def _point(self, line: str) -> str:
        words = " ".join(_BULLET.sub("", line).split())
        if not words or words in {"-", "*", "•"}:
            return ""
        lead, self._first = "" if self._first else "\n", False
        return f"{lead}- {words}"


class WordLimit(TextFilter):
    """Lets whole sentences through while they fit; only a first sentence that is too long is cut, at a clause."""

    def __init__(self, max_words: int) -> None:
        self._left, self._held = max_words, ""
        self._begun = self._is_cut = False

    def feed(self, text: str) -> str:
        """The sentences that are complete and fit."""
        self._held += text
        given = ""
        while not self.ended and (end := self._sentence_end()):
            given += self._take(end)
        words = self._held.split()
        # The last one may not be whole, and those behind the limit tell where a clause ends.
        if not self.ended and len(words) > self._left + WORDS_AHEAD + _is_lone_dash(words[: self._left]):
            given += self._take(len(self._held))
        return given

    def cut_short(self) -> None:
        """What is held may be half a sentence."""
        self._is_cut = True

    def finish(self) -> str:
        """The last sentence, if it fits; half a sentence only if there is no whole one."""
        if self.ended:
            return ""
        if self._is_cut and self._begun and not _SENTENCE_AT_END.search(self._held):
            self.ended, self._held = "stop", ""
            return ""
        return self._take(len(self._held)).rstrip()

    def _sentence_end(self) -> int:
        """Where the first sentence ends; 0 where that isn't known yet. The number of a point is none."""
        return next((end for end in sentence_ends(self._held) if _HAS_WORD.search(self._held, 0, end)), 0)

    def _take(self, end: int) -> str:
        sentence, self._held = self._held[:end], self._held[end:]
        words = sentence.split()
        if len(words) <= self._left:
            self._left -= len(words)
            self._begun = self._begun or bool(words)
            self.ended = "stop" if self._left == 0 else None
            return sentence
        self.ended, self._held = "stop" if self._begun else "length", ""
        if self._begun:
            return ""
        words = words[1:] if _is_lone_dash(words[: self._left]) else words
        return cut_sentence(words, self._left)


def _is_lone_dash(words: Sequence[str]) -> bool:
    """Whether a limit of words leaves nothing but a bullet."""
    return words == ["-"]
