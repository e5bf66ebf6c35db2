"""What scores, labels and evidence are worth: `python -m benchmarks.quality.scores --model DIR --out run.json`.

| part | |
| --- | --- |
| `tags` | Debian's packages: the list that the model writes, and what each of 70 entries scores |
| `labels` | which of 20 of Debian's sections: `classify`, a schema with an `enum`, and "yes or no?" for each section |
| `evidence` | `data/marks.json` says on which sentence a tag rests; one quote of three must be in it |
| `cost` | a score for each of 5,000 entries on a document of 1,000 tokens, against five tags of a model's own |

The file keeps every answer, and what is in it isn't asked again, so that a run can be done in pieces. Figures are
computed from the answers.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.child import Line
from benchmarks.quality.metrics import micro
from benchmarks.quality.sets import Document, DocumentSet, loaded, only
from benchmarks.quality.words import key
from benchmarks.worker import Request, Worker, generate

_DATA = Path(__file__).parent / "data"
_BINS = 10
_THRESHOLDS = [number / 50 for number in range(1, 50)]
_MOST_TAGS = 5
_COST_ENTRIES = 5_000
_COST_TOKENS = 1_000
_COST_REPEATS = 3

Answers = dict[str, Any]


def main() -> None:
    """Ask for what isn't in the file yet, and print the figures of all that is."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality.scores", description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="a folder with a model")
    parser.add_argument("--preload", help="a BLAS to preload on Linux, such as libopenblas.so.0")
    parser.add_argument("--parts", default="tags,labels,evidence,cost", help="of tags, labels, evidence, cost")
    parser.add_argument("--limit", type=int, help="so many documents of each part")
    parser.add_argument("--out", type=Path, required=True, help="the file of answers")
    wanted = parser.parse_args()
    run: dict[str, Answers] = json.loads(wanted.out.read_text("utf-8")) if wanted.out.exists() else {}
    if (parts := [PARTS[name] for name in wanted.parts.split(",")]) and wanted.limit != 0:
        with Worker(wanted.model, wanted.preload) as worker:
            for part in parts:
                answers = run.setdefault(part.name, {})
                for name, answer in part.ask(worker, wanted.limit, answers):
                    answers[name] = answer
                    wanted.out.write_text(json.dumps(run, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    for part in parts:
        for figure, value in part.figures(run.get(part.name, {})):
            print(f"{part.name}: {figure}: {value}")


# Tags of a vocabulary


def ask_tags(worker: Worker, limit: int | None, known: Answers) -> Iterator[tuple[str, Answers]]:
    """Both requests of a document, one document after the other."""
    given = loaded("debian", limit)
    for document in _left(given.documents, known):
        request = {
            "command": "generate-tags",
            "content": document.text,
            "max_tags": _MOST_TAGS,
            "vocabulary": list(given.vocabulary),
        }
        listed = _line(worker, {**request, "vocabulary_mode": "prefer"})
        scored = _line(worker, {**request, "vocabulary_mode": "only", "all_scores": True})
        yield (
            document.id,
            {
                "listed": listed["tags"],
                "chosen": scored["tags"],
                "scores": {each["tag"]: each["score"] for each in scored["vocabulary_scores"]},
            },
        )


def tag_figures(answers: Answers) -> Iterator[tuple[str, object]]:
    """Average precision of three orders, F1 with thresholds, calibration error."""
    given = only(loaded("debian", None), set(answers))
    if not answers:
        return
    truth = {document.id: document.tags for document in given.documents}
    yield "documents", len(answers)
    for name, ranked in _orders(answers).items():
        yield f"average precision, {name}", _rounded(_mean_precision(ranked, truth))
    chosen = micro((answer["chosen"], truth[name]) for name, answer in answers.items())
    yield "F1 of the tags that are chosen", _rounded(chosen.f1)
    best = max(_THRESHOLDS, key=lambda least: _f1_at(least, answers, truth))
    yield f"F1 at the best fixed threshold, {best}", _rounded(_f1_at(best, answers, truth))
    pairs = [(score, tag in truth[name]) for name, answer in answers.items() for tag, score in answer["scores"].items()]
    yield "expected calibration error", _rounded(calibration_error(pairs))


def _orders(answers: Answers) -> dict[str, dict[str, list[str]]]:
    return {
        "the list as the model writes it": {name: answer["listed"] for name, answer in answers.items()},
        "the tags that are chosen": {name: answer["chosen"] for name, answer in answers.items()},
        "all entries by score": {
            name: sorted(answer["scores"], key=lambda tag: -answer["scores"][tag]) for name, answer in answers.items()
        },
        "the five that score best": {
            name: sorted(answer["scores"], key=lambda tag: -answer["scores"][tag])[:_MOST_TAGS]
            for name, answer in answers.items()
        },
    }


def average_precision(ranked: Sequence[str], true: Sequence[str]) -> float:
    """Of one order: what isn't in it was never found."""
    wanted, hits, total = {key(tag) for tag in true}, 0, 0.0
    for place, tag in enumerate(ranked, 1):
        if key(tag) in wanted:
            hits += 1
            total += hits / place
    return total / len(wanted)


def _mean_precision(ranked: Mapping[str, Sequence[str]], truth: Mapping[str, Sequence[str]]) -> float:
    return statistics.mean(average_precision(tags, truth[name]) for name, tags in ranked.items() if truth[name])


def _f1_at(least: float, answers: Answers, truth: Mapping[str, Sequence[str]]) -> float:
    def chosen(scores: Mapping[str, float]) -> list[str]:
        ranked = sorted(scores, key=lambda tag: -scores[tag])[:_MOST_TAGS]
        return [tag for tag in ranked if scores[tag] >= least]

    return micro((chosen(answer["scores"]), truth[name]) for name, answer in answers.items()).f1


def calibration_error(pairs: Sequence[tuple[float, bool]]) -> float:
    """Expected calibration error: by how much scores and shares of right ones differ, in ten bins of equal width."""
    bins: list[list[tuple[float, bool]]] = [[] for _ in range(_BINS)]
    for score, is_right in pairs:
        bins[min(int(score * _BINS), _BINS - 1)].append((score, is_right))
    gaps = (abs(sum(score - is_right for score, is_right in each)) for each in bins)
    return sum(gaps) / len(pairs)


# Labels


def ask_labels(worker: Worker, limit: int | None, known: Answers) -> Iterator[tuple[str, Answers]]:
    """The three ways, one document after the other."""
    sections = _sections()
    labels = [{"name": name, "description": words} for name, words in sections.items()]
    listed = "\n".join(f"- {name}: {words}" for name, words in sections.items())
    schema = {"type": "object", "properties": {"label": {"enum": list(sections)}}, "required": ["label"]}
    for document in _left(_of_sections(limit), known):
        classified = _line(worker, {"command": "classify", "content": document.text, "labels": labels})
        ask = f"Which of these labels fits the following text best?\n{listed}\n\n{document.text}\n\nAnswer in JSON."
        held = _line(worker, generate(ask, 32, schema=schema))
        yes = {name: _yes(worker, document, name, words) for name, words in sections.items()}
        yield (
            document.id,
            {
                "right": document.kind,
                "scores": {each["label"]: each["score"] for each in classified["scores"]},
                "schema": (held["json"] or {}).get("label"),
                "yes": yes,
            },
        )


def _yes(worker: Worker, document: Document, name: str, words: str) -> float:
    """The log-probability of "yes", less that of "no"."""
    ask = f'{document.text}\n\nDoes the label "{name}" ({words}) fit this text? Answer yes or no.'
    line = _line(worker, generate(ask, 4, choices=["yes", "no"], logprobs=True, top_logprobs=20))
    first = line["logprobs"][0]
    known = {each["text"]: each["logprob"] for each in reversed(first["top"])} | {first["text"]: first["logprob"]}
    return float(known.get("yes", min(known.values())) - known.get("no", min(known.values())))


def label_figures(answers: Answers) -> Iterator[tuple[str, object]]:
    """Accuracies."""
    if not answers:
        return
    every = list(answers.values())
    ways: dict[str, Callable[[Answers], object]] = {
        "classify": lambda answer: max(answer["scores"], key=lambda name: answer["scores"][name]),
        "a schema with an enum": lambda answer: answer["schema"],
        "the first yes": lambda answer: next((name for name, nats in answer["yes"].items() if nats > 0), None),
        "the most probable yes": lambda answer: max(answer["yes"], key=lambda name: answer["yes"][name]),
    }
    yield "documents", len(every)
    for name, way in ways.items():
        yield f"right by {name}", _rounded(statistics.mean(way(answer) == answer["right"] for answer in every))
    best = [
        (max(answer["scores"].values()), max(answer["scores"], key=answer["scores"].get) == answer["right"])
        for answer in every
    ]
    yield "expected calibration error of the label", _rounded(calibration_error(best))


def _sections() -> dict[str, str]:
    sections: dict[str, str] = json.loads((_DATA / "sections.json").read_text("utf-8"))
    return sections


def _of_sections(limit: int | None) -> Sequence[Document]:
    whole = loaded("debian", None)
    kept = only(whole, {document.id for document in whole.documents if document.kind in _sections()})
    # In the order in which a limit draws from the whole set.
    drawn = sorted(kept.documents, key=lambda document: hashlib.sha256(document.id.encode()).digest())
    return drawn[:limit]


# Evidence


def ask_evidence(worker: Worker, limit: int | None, known: Answers) -> Iterator[tuple[str, Answers]]:
    """Each mark's tag is all of the vocabulary, so that it is the tag of the answer."""
    marks = json.loads((_DATA / "marks.json").read_text("utf-8"))
    for document in _left(loaded("texts", limit).documents, known):
        found: Answers = {}
        for tag in marks.get(document.id, {}):
            request = {"command": "generate-tags", "content": document.text, "vocabulary": [tag], "evidence": True}
            line = _line(worker, {**request, "vocabulary_mode": "only"})
            found[tag] = line["evidence"][0]
        yield document.id, found


def evidence_figures(answers: Answers) -> Iterator[tuple[str, object]]:
    """Quotes to the letter, and tags of which a quote is the marked sentence."""
    marks = json.loads((_DATA / "marks.json").read_text("utf-8"))
    documents = {document.id: document for document in loaded("texts", None).documents}
    verbatim, right, named = list[bool](), list[bool](), list[bool]()
    for name, tags in answers.items():
        units = documents[name].text.encode("utf-16-le")
        for tag, quotes in tags.items():
            verbatim += [units[2 * q["start"] : 2 * q["end"]].decode("utf-16-le") == q["quote"] for q in quotes]
            mark = marks[name][tag]
            hit = any(" ".join(mark.split()) in " ".join(q["quote"].split()) for q in quotes)
            (named if key(tag) in key(documents[name].text) else right).append(hit)
    if verbatim:
        yield "quotes", len(verbatim)
        yield "of them to the letter", _rounded(statistics.mean(verbatim))
        yield (
            f"marked sentence among the quotes, {len(right) + len(named)} tags",
            _rounded(statistics.mean([*right, *named])),
        )
        for group, hits in (("stand in the text", named), ("stand nowhere", right)):
            if hits:
                yield f"of these {len(hits)} tags that {group}", _rounded(statistics.mean(hits))


# Cost


def ask_cost(worker: Worker, _: int | None, known: Answers) -> Iterator[tuple[str, Answers]]:
    """Seconds of each, in turn, on documents that are new each time; the first of each isn't counted."""
    if known:
        return
    given = loaded("debian", None)
    words = sorted({word.strip(".,;:()") for document in given.documents for word in document.text.split()})
    pairs = [f"{one} {other}"[:40].strip() for one in words[:200] for other in words[1000:1050]]
    entries = list(dict.fromkeys(pair for pair in pairs if pair.isprintable()))[:_COST_ENTRIES]
    seconds: Answers = {"tags": [], "scores": [], "resident": [], "device_peak": []}
    for number in range(_COST_REPEATS + 1):
        content = _long_text(given, number)
        plain = {"command": "generate-tags", "content": content, "max_tags": _MOST_TAGS}
        scored = {**plain, "vocabulary": entries, "vocabulary_mode": "only", "all_scores": True}
        for name, request in (("tags", plain), ("scores", {**scored, "content": _long_text(given, number + 100)})):
            begun = time.perf_counter()
            line = _line(worker, request)
            if number:
                seconds[name].append(time.perf_counter() - begun)
            seconds[f"{name}_tokens"] = line["usage"]["input_tokens"]
        status = worker.ask({"command": "status"})
        seconds["resident"].append(status["memory_bytes"])
        seconds["device_peak"].append(status["device_memory"]["peak_bytes"])
    yield "seconds", {**seconds, "entries": len(entries)}


def cost_figures(answers: Answers) -> Iterator[tuple[str, object]]:
    """How many times the time of five tags, and what memory did."""
    if not answers:
        return
    seconds = answers["seconds"]
    ratio = statistics.median(seconds["scores"]) / statistics.median(seconds["tags"])
    yield f"{seconds['entries']} scores against {_MOST_TAGS} tags: times as long", _rounded(ratio)
    yield "seconds of tags", [_rounded(each) for each in seconds["tags"]]
    yield "seconds of scores", [_rounded(each) for each in seconds["scores"]]
    yield "resident MB after each", [each // 2**20 for each in seconds["resident"]]
    yield "device's peak MB after each", [each // 2**20 for each in seconds["device_peak"]]


def _long_text(given: DocumentSet, begin: int) -> str:
    """About as many tokens as wanted, of several descriptions."""
    chars = _COST_TOKENS * 4
    text = "\n\n".join(document.text for document in given.documents[begin : begin + 20])
    return text[:chars]


# All parts


@dataclass(frozen=True)
class Part:
    """What is asked, and what is made of the answers."""

    name: str
    ask: Callable[[Worker, int | None, Answers], Iterator[tuple[str, Answers]]]
    figures: Callable[[Answers], Iterator[tuple[str, object]]]


PARTS = {
    part.name: part
    for part in (
        Part("tags", ask_tags, tag_figures),
        Part("labels", ask_labels, label_figures),
        Part("evidence", ask_evidence, evidence_figures),
        Part("cost", ask_cost, cost_figures),
    )
}


def _left(documents: Sequence[Document], known: Answers) -> Iterator[Document]:
    return (document for document in documents if document.id not in known)


def _line(worker: Worker, request: Request) -> Line:
    (answered,) = worker.answer([request])
    return answered.line


def _rounded(value: float) -> float:
    return round(value, 3)


if __name__ == "__main__":
    main()
