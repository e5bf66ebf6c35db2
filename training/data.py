"""Makes training examples: documents with words replaced and sentences moved, and the teacher's answers as tokens."""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from training import teacher
from training.frames import closed_class_words, everyday_sentences, opener
from training.sources import Description
from training.teacher import WORD, Document
from training.wording import summary_instruction, tags_instruction, with_document
from training.words import EVERYDAY_NOUNS, FUNCTION_WORDS, OTHER_WORDS, STOP_WORDS, word_set

TURN = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
END = "<|im_end|>"
WORD_KINDS = 2
_NOT_NOUN = re.compile(r".*(?:ing|ed|ly|ous|ful|ive|able|ible|ical|less|ic|ize|ized|ish)$")
_BEFORE_NOUN = word_set("the a an this its your our his her their my of for with every each no")
_AFTER_NOUN = word_set("of for to in is are was and or that which with from on as by has can will at")
_BEFORE_VERB = word_set("to can will you it which that they may who")
_AFTER_VERB = word_set("the a an your it all its their them you this")
_BEFORE_ADJECTIVE = word_set("is are very more be most so too")
_ONSETS = (*"bcdfghjklmnprstvwz", "br", "ch", "cl", "dr", "fl", "gr", "pl", "pr", "sh", "sk", "sl", "st", "th", "tr")
_VOWELS = (*"aeiouaeio", "ai", "ea", "oo", "ou")
_WORD_WEIGHT = 60
_CODAS = ("", "", "", *"bdgklmnprstx", "nd", "rk", "ll", "st", "lt", "nk")


@dataclass(frozen=True)
class Lexicon:
    """Which words are nouns by the company they keep, and the pools that replacements are drawn from."""

    nouns: frozenset[str]
    known: frozenset[str]
    noun_pool: tuple[str, ...]
    other_pool: tuple[str, ...]

    def is_noun(self, word: str) -> bool:
        """Whether a word may be a tag; unknown ones may unless their ending says otherwise."""
        lower = word.lower()
        if lower in FUNCTION_WORDS or len(lower) < 3:
            return False
        return lower in self.nouns or (lower not in self.known and not _NOT_NOUN.match(lower))


def _contexts(sentences: Iterable[str]) -> dict[str, Counter[str]]:
    """For every word, how often its neighbours make it look like a noun (n), verb (v) or adjective (a)."""
    votes: dict[str, Counter[str]] = defaultdict(Counter)
    for sentence in sentences:
        words = re.findall(r"[a-z][a-z0-9'-]*|[.,;:()!?]", sentence.lower())
        for before, word, after in zip([".", *words], words, [*words[1:], "."], strict=False):
            closed = after in _AFTER_NOUN or not after[0].isalpha()
            if before in _BEFORE_VERB and (after in _AFTER_VERB or before == "to"):
                votes[word]["v"] += 1
            elif before in _BEFORE_ADJECTIVE:
                votes[word]["a"] += 1
            elif before in _BEFORE_NOUN:
                votes[word]["n" if closed else "a"] += 1
            elif closed and before not in FUNCTION_WORDS:
                votes[word]["n"] += 1
            elif after in _AFTER_VERB:
                votes[word]["v"] += 1
    return votes


def _may_stand_for_noun(word: str, votes: Counter[str]) -> bool:
    fit = word not in STOP_WORDS and not word.endswith("s") and not _NOT_NOUN.match(word)
    return fit and votes["n"] >= votes["v"] + votes["a"]


def build_lexicon(descriptions: Iterable[Description], common: Iterable[str]) -> Lexicon:
    """Sort the corpus's words into nouns and others, and pool them with everyday words for replacements."""
    votes = _contexts(sentence for description in descriptions for sentence in description.sentences)
    sure = {word: count for word, count in votes.items() if sum(count.values()) >= 4 and word.isalpha()}
    nouns = {w for w, c in sure.items() if c["n"] >= 0.45 * sum(c.values()) and not _NOT_NOUN.match(w)}
    plural = {noun + "s" for noun in EVERYDAY_NOUNS}
    closed = (closed_class_words() | OTHER_WORDS) - set(EVERYDAY_NOUNS)
    nouns = (nouns | set(EVERYDAY_NOUNS) | plural) - closed - STOP_WORDS
    rare = [w for w in common if _may_stand_for_noun(w, votes[w]) and w not in sure and w not in closed]
    frequent = sorted(
        (n for n in nouns if n in sure and not n.endswith("s")), key=lambda n: (-sum(sure[n].values()), n)
    )
    others = {w for w in sure if w not in nouns and w not in STOP_WORDS and 3 < len(w) < 12} | OTHER_WORDS
    pool = (*EVERYDAY_NOUNS * 5, *rare, *frequent[:2500])
    return Lexicon(frozenset(nouns), frozenset(sure) | closed, pool, tuple(sorted(others)))


def made_up_word(rng: random.Random) -> str:
    """A pronounceable word that does not exist."""
    syllables = rng.choice((1, 2, 2, 3))
    parts = [rng.choice(kind) for _ in range(syllables) for kind in (_ONSETS, _VOWELS, _CODAS)]
    return "".join(parts).ljust(3, "o")


def _like(original: str, replacement: str) -> str:
    """The replacement in the original's case."""
    if original.isupper() and len(original) > 1:
        return replacement.upper()
    return replacement.capitalize() if original[0].isupper() else replacement


def _swap(word: str, plan: dict[str, str]) -> str:
    """The word's replacement if it has one, else the word as it is."""
    new = plan.get(word.lower())
    return _like(word, new) if new else word


def _replacement(noun: bool, lexicon: Lexicon, rng: random.Random) -> str:
    if not noun:
        return rng.choice(lexicon.other_pool)
    return made_up_word(rng) if rng.random() < 0.3 else rng.choice(lexicon.noun_pool)


def _plan(words: set[str], share: float, lexicon: Lexicon, rng: random.Random) -> dict[str, str]:
    """A new word for a share of the content words; a plural and its singular stay a pair."""
    plan: dict[str, str] = {}
    for word in sorted(words, key=lambda w: (len(w), w)):
        singular = word.removesuffix("s")
        if word in FUNCTION_WORDS or word in STOP_WORDS or len(word) < 3:
            continue
        if singular != word and singular in plan:
            plan[word] = plan[singular] + "s"
        elif rng.random() < share:
            plan[word] = _replacement(lexicon.is_noun(word), lexicon, rng)
            plan[word] += "s" if singular != word and lexicon.is_noun(word) and not word.endswith("ss") else ""
    return plan


def _replaced(sentences: list[str], lexicon: Lexicon, rng: random.Random) -> tuple[list[str], frozenset[str]]:
    """The sentences with words replaced, and their nouns: a new word is a noun where the old one was."""
    words = {word.lower() for sentence in sentences for word in WORD.findall(sentence)}
    share = rng.uniform(0.15, 0.7) if rng.random() < 0.75 else 0.0
    plan = _plan(words, share, lexicon, rng) if share else {}
    kept = {word for word in words - plan.keys() if lexicon.is_noun(word)}
    nouns = kept | {new for old, new in plan.items() if lexicon.is_noun(old)}
    changed = [WORD.sub(lambda match: _swap(match[0], plan), sentence) for sentence in sentences]
    return changed, frozenset(nouns)


def _vary(sentences: list[str], longest: int, rng: random.Random) -> list[str]:
    """Some of the sentences, up to a length in characters, at times in another order."""
    chosen = list(sentences)
    if rng.random() < 0.35:
        rng.shuffle(chosen)
    total, kept = 0, []
    for sentence in chosen:
        total += len(sentence) + 1
        if kept and total > longest:
            break
        kept.append(sentence)
    return kept


def _gaps(count: int, rng: random.Random) -> tuple[str, ...]:
    """The white space before each sentence: mostly running text, at times new lines or paragraphs."""
    kind = rng.choices(("text", "paragraphs", "lines"), (70, 22, 8))[0]
    usual = "\n" if kind == "lines" else " "
    gaps = [rng.choice(("\n\n", "\n")) if kind == "paragraphs" and rng.random() < 0.3 else usual for _ in range(count)]
    return ("", *gaps[1:])


def _longest(rng: random.Random) -> int:
    """A limit on a document's length in characters: mostly short, a minority long."""
    draw = rng.random()
    if draw < 0.1:
        return rng.randint(100, 240)
    if draw < 0.8:
        return rng.randint(240, 600)
    return rng.randint(600, 1000) if draw < 0.97 else rng.randint(1000, 3200)


def _openers(rng: random.Random) -> list[str]:
    """None, one or two sentences that come before the point."""
    return [opener(rng) for _ in range(rng.choices((0, 1, 2), (70, 22, 8))[0])]


def _raw_sentences(descriptions: list[Description], longest: int, rng: random.Random) -> list[str]:
    """Sentences on one subject, from everyday frames or from descriptions, at times with openers and strays."""
    if rng.random() < 0.45:
        sentences = everyday_sentences(rng)
        if rng.random() < 0.3:
            sentences += rng.sample(rng.choice(descriptions).sentences, 1)
        return [*_openers(rng), *_vary(sentences, longest, rng)]
    description = rng.choice(descriptions)
    sentences = list(description.sentences)
    while sum(map(len, sentences)) < min(longest, 380) or (len(sentences) < 4 and rng.random() < 0.6):
        sentences += rng.choice(descriptions).sentences[:3]
    chosen = _vary(sentences, longest, rng)
    if rng.random() < 0.15:
        chosen[:0] = _openers(rng)
    elif rng.random() < 0.2:
        chosen.insert(0, description.synopsis[0].upper() + description.synopsis[1:])
    return chosen


def make_document(descriptions: list[Description], lexicon: Lexicon, rng: random.Random) -> Document:
    """One training document. A title that is no sentence stands on a line of its own."""
    raw = _raw_sentences(descriptions, _longest(rng), rng)
    sentences, nouns = _replaced(raw, lexicon, rng)
    gaps = list(_gaps(len(sentences), rng))
    if len(sentences) > 1 and sentences[0][-1] not in ".!?":
        gaps[1] = rng.choice(("\n", "\n\n"))
    return Document(tuple(sentences), tuple(gaps), nouns)


def _spaced(document: Document, index: int) -> str:
    """A sentence as its tokens stand in the document: with the space before it if it follows another on the line."""
    return (" " if document.gaps[index] == " " else "") + document.sentences[index]


def _summary_answer(document: Document, style: str, count: int, max_words: int | None = None) -> str | None:
    """The summary the teacher would give: top sentences word for word, in the document's order."""
    ranking = teacher.rank_sentences(document, max_words)[:count]
    if not ranking:
        return None
    if style == "bullets":
        return "\n".join(f"- {document.sentences[index]}" for index in sorted(ranking))
    first, *rest = sorted(ranking)
    return _spaced(document, first) + "".join(f" {document.sentences[index]}" for index in rest)


def _tags_answer(document: Document, max_tags: int) -> str | None:
    """One tag per line, each after a space, so that its tokens are those of a word in running text."""
    chosen = teacher.tags(document, max_tags)
    return "\n".join(f" {tag}" for tag in chosen) if len(chosen) >= min(3, max_tags) else None


def _variant(document: Document, rng: random.Random) -> tuple[str, str | None]:
    """One of the less usual tasks: another number of tags, a paragraph, bullets or a limit on words."""
    kind = rng.choices(("tags", "paragraph", "bullets", "words"), (35, 30, 30, 5))[0]
    if kind == "tags":
        limit = rng.choice((1, 2, 3, 4, 6, 7, 8, 10, 12))
        return tags_instruction(limit), _tags_answer(document, limit)
    if kind == "words":
        limit = rng.choice((10, 15, 20, 25, 30))
        instruction = summary_instruction("sentence", max_words=limit)
        return instruction, _summary_answer(document, "sentence", 1, limit)
    count = (2 if len(document.sentences) < 6 else 3) + (kind == "bullets" and len(document.sentences) > 8)
    return summary_instruction(kind), _summary_answer(document, kind, count)


def tasks(document: Document, rng: random.Random) -> list[tuple[str, str]]:
    """Instructions and answers for one document: tags, one sentence, and for a third of them a variant."""
    pairs = [
        (tags_instruction(5), _tags_answer(document, 5)),
        (summary_instruction("sentence"), _summary_answer(document, "sentence", 1)),
    ]
    if rng.random() < 0.35:
        pairs.append(_variant(document, rng))
    return [(instruction, answer) for instruction, answer in pairs if answer]


@dataclass(frozen=True)
class Row:
    """A document and its answers as tokens; branch 0 is shared, the others cannot see one another."""

    ids: list[int]
    branch: list[int]
    answer: list[int]


def encode_row(document: Document, pairs: list[tuple[str, str]], tokenizer: Tokenizer) -> Row:
    """Tokens of the shared start once, then each task's own end of the prompt and its answer."""
    prompts = [tokenizer.encode(TURN.format(with_document(document.text, task))).ids for task, _ in pairs]
    shared = 0
    while len({tuple(prompt[shared : shared + 1]) for prompt in prompts}) == 1 and shared < len(prompts[0]) - 12:
        shared += 1
    row = Row(prompts[0][:shared], [0] * shared, [0] * shared)
    for number, (prompt, (_, answer)) in enumerate(zip(prompts, pairs, strict=True), 1):
        rest, target = prompt[shared:], tokenizer.encode(answer + END).ids
        row.ids.extend(rest + target)
        row.branch.extend([number] * (len(rest) + len(target)))
        row.answer.extend([0] * len(rest) + [1] * len(target))
    return row


def word_kinds(tokenizer: Tokenizer, lexicon: Lexicon) -> NDArray[np.int8]:
    """For every token: whether it begins a word in lower case; whether it is a noun (1), no noun (-1) or unknown (0).

    Shape (vocabulary, WORD_KINDS).
    """
    kinds = np.zeros((tokenizer.get_vocab_size(), WORD_KINDS), np.int8)
    for token, number in tokenizer.get_vocab().items():
        if re.fullmatch("Ġ[a-z]+", token):
            word = token[1:]
            known = word in lexicon.known or word in lexicon.nouns or word in STOP_WORDS
            kinds[number] = 1, (1 if lexicon.is_noun(word) and word not in STOP_WORDS else -1) if known else 0
    return kinds


def write_rows(
    path: Path, count: int, descriptions: list[Description], lexicon: Lexicon, tokenizer: Tokenizer, seed: int
) -> int:
    """Make a training set of so many rows and store it; returns its number of tokens."""
    rows: list[Row] = []
    for index in range(count):
        rng = random.Random(f"{seed}:{index}")
        document = make_document(descriptions, lexicon, rng)
        if pairs := tasks(document, rng):
            rows.append(encode_row(document, pairs, tokenizer))
    rows = [row for row in rows if len(row.ids) <= 1200]
    offsets = np.cumsum([0, *(len(row.ids) for row in rows)])
    fields = {name: np.concatenate([getattr(row, name) for row in rows]) for name in ("ids", "branch", "answer")}
    np.savez(
        path,
        offsets=offsets,
        ids=fields["ids"].astype(np.int16),
        branch=fields["branch"].astype(np.int8),
        answer=fields["answer"].astype(bool),
        kinds=word_kinds(tokenizer, lexicon),
    )
    return int(offsets[-1])


def tokenizer_texts(
    descriptions: list[Description], lexicon: Lexicon, words: Iterable[str], seed: int
) -> Iterable[str]:
    """What the tokenizer learns from: training documents, everyday words and the prompts' own words."""
    for index in range(12000):
        document = make_document(descriptions, lexicon, random.Random(f"tokenizer:{seed}:{index}"))
        yield document.text.lower() if index % 3 == 0 else document.text
    plurals = [noun + "s" for noun in EVERYDAY_NOUNS]
    for word in dict.fromkeys([*words, *sorted(OTHER_WORDS | STOP_WORDS), *EVERYDAY_NOUNS, *plurals]):
        yield from [f" {word}"] * _WORD_WEIGHT
    yield from [with_document("", tags_instruction(5))] * 500
    for style in ("sentence", "paragraph", "bullets"):
        yield from [with_document("", summary_instruction(style))] * 500
