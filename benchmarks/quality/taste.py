"""Do a request's own examples teach a style? `python -m benchmarks.quality.taste --model DIR [--preload BLAS]`.

The style is one that the built-in examples don't have: the kind of text comes first, and words of a tag are joined by
hyphens ("meeting-minutes", "parking-garage"). Four documents with tags of that style are the examples; documents of the
set `texts` in English are asked about with and without them. The table gives the tags of more than one word that are
joined by a hyphen, the first tags that name the kind of the text, and the tags that a reader would accept.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.quality.sets import Document, loaded
from benchmarks.quality.tags import is_accepted
from benchmarks.worker import Request, Worker

EXAMPLES: list[dict[str, Any]] = [
    {
        "content": "Hi all, the swimming course starts on 4 June, not on 28 May. The pool in Mill Lane is still being "
        "repaired. Fees stay the same, 85 euros. See you, Greta",
        "tags": ["mail", "swimming-course", "start-date", "pool-repair", "course-fee"],
    },
    {
        "content": "Parents' evening, class 3b. Present: 19. The class trip goes to the lighthouse, not to the castle. "
        "Mr Bello collects the money. The next meeting is on 11 March.",
        "tags": ["meeting-minutes", "parents-evening", "class-trip", "lighthouse", "next-meeting"],
    },
    {
        "content": "Pancakes for four: 250 g flour, 3 eggs, half a litre of milk, a pinch of salt. Let the batter rest "
        "for 20 minutes. Fry in hot butter, one minute a side.",
        "tags": ["recipe", "pancakes", "flour", "eggs", "resting-time"],
    },
    {
        "content": "The town's last cinema closes at the end of the year. Its owner said on Tuesday that visitors had "
        "halved since 2018. The building becomes a climbing hall.",
        "tags": ["news", "cinema", "closing-down", "visitor-numbers", "climbing-hall"],
    },
]
_LANGUAGE = "en"
_KINDS = {
    "meeting minutes": {"meeting-minutes", "minutes"},
    "news": {"news", "news-article"},
    "chat log": {"chat", "chat-log"},
    "product review": {"review", "product-review"},
    "error report": {"bug-report", "error-report"},
    "job advert": {"job-advert", "job-ad", "job-offer", "vacancy", "job"},
    "changelog": {"changelog", "release-notes"},
    "letter of complaint": {"complaint", "letter", "complaint-letter", "letter-of-complaint"},
    "to-do list": {"to-do-list", "todo-list", "to-do", "todo"},
}


@dataclass(frozen=True)
class Scores:
    """Shares of all tags of several words, of all answers, and of all tags."""

    hyphened: float
    kind_first: float
    accepted: float


def main() -> None:
    """Ask without examples and with them, and print a row for each."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality.taste", description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="a folder with a model")
    parser.add_argument("--preload", help="a BLAS to preload on Linux, such as libopenblas.so.0")
    parser.add_argument("--limit", type=int, default=20, help="documents")
    wanted = parser.parse_args()
    documents = [one for one in loaded("texts", None).documents if one.language == _LANGUAGE][: wanted.limit]
    print(
        f"| {wanted.model.name} | joined by hyphens | kind first | a reader's |\n| --- | ---: | ---: | ---: |",
        flush=True,
    )
    with Worker(wanted.model, wanted.preload) as worker:
        for name, extra in {"built-in examples": {}, "the request's own": {"examples": EXAMPLES}}.items():
            ended = worker.answer([_request(document, extra) for document in documents])
            answers = [answered.line["tags"] for answered in ended]
            found = scores(documents, answers)
            print(f"| {name} | {found.hyphened:.0%} | {found.kind_first:.0%} | {found.accepted:.0%} |", flush=True)
            for document, tags in zip(documents, answers, strict=True):
                print(f"  {document.id}: {', '.join(tags)}", file=sys.stderr)


def _request(document: Document, extra: dict[str, Any]) -> Request:
    return {"command": "generate-tags", "content": document.text, **extra}


def scores(documents: list[Document], answers: list[list[str]]) -> Scores:
    """How far the answers have the style of the examples, and whether they are as good as without."""
    tags = [(document, tag) for document, answer in zip(documents, answers, strict=True) for tag in answer]
    several = [tag for _, tag in tags if " " in tag or "-" in tag]
    firsts = [
        answer[0].casefold() in _KINDS.get(document.kind, {document.kind})
        for document, answer in zip(documents, answers, strict=True)
        if answer
    ]
    accepted = [is_accepted(tag.replace("-", " "), document.tags, document.language) for document, tag in tags]
    return Scores(
        sum(" " not in tag for tag in several) / max(len(several), 1),
        sum(firsts) / max(len(firsts), 1),
        sum(accepted) / max(len(accepted), 1),
    )


if __name__ == "__main__":
    main()
