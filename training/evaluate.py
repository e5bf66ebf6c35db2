"""Measures the exported model through mlx-lm, greedily: against the teacher and against marked everyday paragraphs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlx_lm import generate, load

from mlx_sidecar.tasks.prompts import summary_instruction, tags_instruction, with_document
from training import teacher
from training.sources import split_sentences
from training.teacher import Document
from training.words import FUNCTION_WORDS

_EVERYDAY = Path(__file__).with_name("everyday.json")


@dataclass(frozen=True)
class Marked:
    """A text with the sentences and tags that count as right."""

    text: str
    sentences: tuple[str, ...]
    good_sentences: frozenset[str]
    good_tags: frozenset[str]


def _everyday() -> list[Marked]:
    marked = []
    for entry in json.loads(_EVERYDAY.read_text()):
        sentences = tuple(split_sentences(entry["text"]))
        good = frozenset(sentences[index] for index in entry["summary"])
        marked.append(Marked(entry["text"], sentences, good, frozenset(entry["tags"])))
    return marked


def _held_out(path: Path) -> list[Marked]:
    marked = []
    for entry in json.loads(path.read_text()):
        document = Document(tuple(entry["sentences"]), tuple(entry["gaps"]), frozenset(entry["nouns"]))
        ranking = teacher.rank_sentences(document)
        if ranking:
            best = frozenset({document.sentences[ranking[0]]})
            marked.append(Marked(document.text, document.sentences, best, frozenset(teacher.tags(document))))
    return marked


def _asker(folder: Path) -> Callable[[str, str], str]:
    model, tokenizer = load(str(folder))[:2]

    def ask(text: str, instruction: str) -> str:
        message = {"role": "user", "content": with_document(text, instruction)}
        prompt: Any = tokenizer.apply_chat_template([message], add_generation_prompt=True)
        return generate(model, tokenizer, prompt, max_tokens=120).strip()

    return ask


def _judge(marked: Marked, summary: str, tags: list[str]) -> Counter[str]:
    words = {word.lower() for word in teacher.WORD.findall(marked.text)}
    first = next(iter(marked.sentences))
    stems = [teacher.stem(tag) for tag in tags]
    good = {teacher.stem(tag) for tag in marked.good_tags}
    return Counter(
        texts=1,
        verbatim=summary in marked.sentences,
        marked=summary in marked.good_sentences,
        first=summary == first,
        enough=len(set(tags)) >= 3,
        tags=len(tags),
        in_text=sum(all(part in words for part in teacher.WORD.findall(tag)) for tag in tags),
        duplicates=len(stems) - len(set(stems)),
        stop_words=sum(tag in FUNCTION_WORDS for tag in tags),
        marked_tags=sum(s in good for s in stems),
    )


def _figures(texts: list[Marked], ask: Callable[[str, str], str], show: bool) -> dict[str, float]:
    total: Counter[str] = Counter()
    for marked in texts:
        summary = ask(marked.text, summary_instruction("sentence"))
        tags = [line.strip() for line in ask(marked.text, tags_instruction(5)).split("\n") if line.strip()]
        total += _judge(marked, summary, tags)
        if show:
            print(f"{'+' if summary in marked.good_sentences else '-'} {summary}\n  {tags}")
    by_text = {name: total[name] / total["texts"] for name in ("verbatim", "marked", "first", "enough")}
    by_tag = {name: total[name] / total["tags"] for name in ("in_text", "duplicates", "stop_words", "marked_tags")}
    shares = {name: round(100 * share, 1) for name, share in (by_text | by_tag).items()}
    return {"texts": total["texts"], "tags_per_text": round(total["tags"] / total["texts"], 2), **shares}


def evaluate(work: Path, folder: Path) -> None:
    """Print the figures, in percent, for the held-out set and for the everyday paragraphs."""
    ask = _asker(folder)
    print("everyday", json.dumps(_figures(_everyday(), ask, show=True)))
    print("held-out", json.dumps(_figures(_held_out(work / "held_out.json"), ask, show=False)))
