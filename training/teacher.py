"""The answers the model is taught: which sentence is central, which words are tags. Plain counts and position."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from training.words import STOP_WORDS, word_set

WORD = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:['’-][A-Za-z0-9]+)*")
_SHORTEST, _LONGEST = 5, 34
_LEAD_BONUS = (1.2, 0.6, 0.3)
_COUNT_SHARE = 0.8
_LEANING = 1.5
_LEANS = word_set(
    "he she it they this that these those there here you then so but and or also however both such some another "
    "its their his her yes no thank thanks hello hi dear maybe not do otherwise instead afterwards still"
)
_SUFFIXES = re.compile(r"(?:ies|y|es|s|ers?|ing|ed|e)$")


@dataclass(frozen=True)
class Document:
    """Sentences, the white space before each, and the words (lower case) that may become tags."""

    sentences: tuple[str, ...]
    gaps: tuple[str, ...]
    nouns: frozenset[str]

    @property
    def text(self) -> str:
        """The document as the model sees it."""
        return "".join(gap + sentence for gap, sentence in zip(self.gaps, self.sentences, strict=True))


def stem(word: str) -> str:
    """A crude stem, the same for a word's plural and its commonest derived forms."""
    lower = word.lower()
    return _SUFFIXES.sub("", lower) if len(lower) > 4 else lower.removesuffix("s") if len(lower) > 3 else lower


def _tag_words(sentence: str, document: Document) -> list[str]:
    words = [word.lower() for word in WORD.findall(sentence)]
    return [word for word in words if word in document.nouns and word not in STOP_WORDS and len(word) > 2]


def _inner_words(document: Document) -> set[str]:
    """The words that stand in the text in lower case after a blank: to tag with them is to copy the same tokens."""
    return set(re.findall(r"(?<= )[a-z]+\b(?!['’-]\w)", document.text))


def _counts(document: Document) -> Counter[str]:
    return Counter(stem(word) for sentence in document.sentences for word in _tag_words(sentence, document))


def _fits(sentence: str, longest: int) -> bool:
    return _SHORTEST <= len(sentence.split()) <= longest and sentence[-1] in '.!?"'


def _leans(sentence: str) -> bool:
    """Whether a sentence needs another one to be understood, as far as its first word and its last sign tell."""
    first = WORD.match(sentence)
    return sentence[-1] == "?" or (first is not None and re.split("['’]", first[0].lower())[0] in _LEANS)


def _place(document: Document, index: int) -> float:
    """What a sentence's place is worth: the first that stands on its own leads, whatever comes before it."""
    if _leans(document.sentences[index]):
        return -_LEANING
    leads = sum(_fits(earlier, _LONGEST) and not _leans(earlier) for earlier in document.sentences[:index])
    return _LEAD_BONUS[leads] if leads < len(_LEAD_BONUS) else 0.0


def rank_sentences(document: Document, max_words: int | None = None) -> list[int]:
    """Indices of the sentences fit for a summary, the most central one first."""
    counts = _counts(document)
    longest = min(max_words or _LONGEST, _LONGEST)
    scores: dict[int, float] = {}
    for index, sentence in enumerate(document.sentences):
        if not _fits(sentence, longest):
            continue
        repeated = sum(counts[s] for s in {stem(w) for w in _tag_words(sentence, document)} if counts[s] > 1)
        scores[index] = _COUNT_SHARE * repeated / (len(sentence.split()) + 4) ** 0.5 + _place(document, index)
    return sorted(scores, key=lambda index: (-scores[index], index))


def _terms(document: Document) -> Counter[str]:
    """Two-word terms: neighbouring tag words that come up at least twice."""
    pairs = Counter(f"{a} {b}" for a, b in re.findall(r"(?<= )(?=([a-z]+) ([a-z]+)\b(?!['’-]\w))", document.text))
    fit = document.nouns - STOP_WORDS
    return Counter({p: n for p, n in pairs.items() if n > 1 and all(w in fit and len(w) > 2 for w in p.split())})


def _word_scores(document: Document) -> dict[str, float]:
    """Each candidate's score: its count, more if it stands in the key sentence or early, less the later it comes."""
    counts, inner = _counts(document), _inner_words(document)
    key = next(iter(rank_sentences(document)), 0)
    in_key = {stem(word) for word in _tag_words(document.sentences[key], document)}
    scores: dict[str, float] = {}
    seen: set[str] = set()
    for sentence in document.sentences:
        for word in _tag_words(sentence, document):
            root = stem(word)
            if root not in seen and word in inner:
                seen.add(root)
                scores[word] = counts[root] + (1.5 if root in in_key else 0.0) - 0.02 * len(scores)
    return scores


def usual_tags(document: Document, max_tags: int) -> int:
    """How many tags a document of this length gets: three to five, up to eight where more are asked for."""
    words = len(document.text.split())
    usual = 3 if words < 35 else 4 if words < 60 else 5
    return min(max_tags, usual if max_tags <= 5 else min(usual + 3, max_tags))


def tags(document: Document, max_tags: int = 5) -> list[str]:
    """The document's tags, most important first: single words, or a two-word term in its words' place."""
    scores = _word_scores(document)
    terms = _terms(document)
    chosen: list[str] = []
    used: set[str] = set()
    for word in sorted(scores, key=lambda word: -scores[word]):
        if stem(word) in used:
            continue
        term = next((t for t in terms if word in t.split() and not {stem(w) for w in t.split()} & used), word)
        chosen.append(term)
        used.update(stem(part) for part in term.split())
        if len(chosen) == usual_tags(document, max_tags):
            break
    return chosen
