"""The systems that are compared. Each gets a set and gives its answers, with the seconds that they took."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.child import Line
from benchmarks.quality import baselines, node, prompts
from benchmarks.quality.answers import Answer, tags_in
from benchmarks.quality.node import NotThere
from benchmarks.quality.sets import Document, DocumentSet
from benchmarks.worker import Request, Worker, generate

MAX_TOKENS = 96
"""For answers to plain prompts: twice what five tags or a sentence take; what goes on by then goes on for ever."""
_SAID_EVERY = 10


@dataclass(frozen=True)
class Setup:
    """What the systems run with."""

    model: Path
    gguf: Path | None
    preload: str | None
    node_modules: Path
    tasks: Sequence[str]


@dataclass(frozen=True)
class Outcome:
    """What came of one system on one set."""

    answers: list[Answer]
    seconds: float


@dataclass(frozen=True)
class Asked:
    """A request, and the document and task that it is for."""

    document: str
    task: str
    request: Request


class PatientWorker(Worker):
    """A worker whose errors are answers as well; says on stderr how far it is."""

    def __init__(self, model: Path, preload: str | None, *flags: str) -> None:
        self._ended = 0
        super().__init__(model, preload, *flags)

    def read(self) -> Line:
        """The next line. Raises EOFError where the process has ended."""
        assert self.process.stdout is not None
        raw = self.process.stdout.readline()
        if not raw:
            raise EOFError(f"the worker has ended with {self.process.wait()}")
        line: Line = json.loads(raw)
        if line["type"] != "progress":
            if line["command"] == "model-info" and line["type"] == "error":
                raise RuntimeError(line["error"])
            self._ended += 1
            if self._ended % _SAID_EVERY == 0:
                print(f"  {self._ended} answers", file=sys.stderr, flush=True)
        return line


def tasks_of_the_worker(given: DocumentSet, setup: Setup) -> Outcome:
    """This project: the requests of one document next to each other, all of them at once."""
    only = {"vocabulary": list(given.vocabulary), "vocabulary_mode": "only"} if given.vocabulary else {}
    asked = list[Asked]()
    for document in given.documents:
        tags = {"command": "generate-tags", "content": document.text, "max_tags": given.max_tags, **only}
        summary = {"command": "summarize", "content": document.text}
        asked += [Asked(document.id, "tags", tags), Asked(document.id, "summary", summary)]
    return _piped([one for one in asked if one.task in setup.tasks], given, setup, in_parts=True)


def plain_json(given: DocumentSet, setup: Setup) -> Outcome:
    """The model asked for JSON in words."""
    return _plain("tags", lambda document: generate(prompts.json_prompt(document, given), MAX_TOKENS), given, setup)


def plain_list(given: DocumentSet, setup: Setup) -> Outcome:
    """The model asked for a list with commas."""
    return _plain("tags", lambda document: generate(prompts.list_prompt(document, given), MAX_TOKENS), given, setup)


def plain_schema(given: DocumentSet, setup: Setup) -> Outcome:
    """The model asked for a list and held to a schema."""
    schema = prompts.schema(given)
    return _plain(
        "tags",
        lambda document: generate(prompts.schema_prompt(document, given), MAX_TOKENS, schema=schema),
        given,
        setup,
    )


def plain_summary(given: DocumentSet, setup: Setup) -> Outcome:
    """The model asked for a sentence."""
    return _plain("summary", lambda document: generate(prompts.summary_prompt(document), MAX_TOKENS), given, setup)


def node_llama_cpp(given: DocumentSet, setup: Setup) -> Outcome:
    """Another runtime, with the same model as a .gguf file and a grammar. Raises NotThere."""
    if setup.gguf is None:
        raise NotThere("node-llama-cpp needs --gguf, the same model as a .gguf file")
    schema = prompts.schema(given)
    asked = list[node.Prompt]()
    for document in given.documents:
        tags, summary = prompts.schema_prompt(document, given), prompts.summary_prompt(document)
        asked += [
            node.Prompt(document.id, "tags", tags, schema, MAX_TOKENS, given.max_tags),
            node.Prompt(document.id, "summary", summary, None, MAX_TOKENS, given.max_tags),
        ]
    answers, seconds = node.asked([one for one in asked if one.task in setup.tasks], setup.gguf, setup.node_modules)
    return Outcome(answers, seconds)


def tfidf(given: DocumentSet, setup: Setup) -> Outcome:
    """Tags by counting words."""
    return _timed(lambda: baselines.tfidf(given, setup.tasks))


def first_sentence(given: DocumentSet, setup: Setup) -> Outcome:
    """Summaries by taking what stands first."""
    return _timed(lambda: baselines.first_sentence(given, setup.tasks))


OF_THE_WHOLE = frozenset({"tfidf"})
"""Systems whose answers for one document depend on which others are asked about."""
SYSTEMS: dict[str, Callable[[DocumentSet, Setup], Outcome]] = {
    "worker": tasks_of_the_worker,
    "plain-json": plain_json,
    "plain-list": plain_list,
    "plain-schema": plain_schema,
    "plain-summary": plain_summary,
    "node-llama-cpp": node_llama_cpp,
    "tfidf": tfidf,
    "first-sentence": first_sentence,
}


def _plain(task: str, request: Callable[[Document], Request], given: DocumentSet, setup: Setup) -> Outcome:
    if task not in setup.tasks:
        return Outcome([], 0.0)
    asked = [Asked(document.id, task, request(document)) for document in given.documents]
    return _piped(asked, given, setup, in_parts=False)


def _piped(asked: Sequence[Asked], given: DocumentSet, setup: Setup, *, in_parts: bool) -> Outcome:
    flags = ["--context-length", str(given.context_length)] if in_parts and given.context_length else []
    with PatientWorker(setup.model, setup.preload, *flags) as worker:
        begun = time.perf_counter()
        ended = worker.answer([one.request for one in asked])
        seconds = max((answered.ended_at for answered in ended), default=begun) - begun
    return Outcome([_answer(one, given, answered.line) for one, answered in zip(asked, ended, strict=True)], seconds)


def _answer(asked: Asked, given: DocumentSet, line: dict[str, Any]) -> Answer:
    if line["type"] == "error":
        return Answer(asked.document, asked.task, "", error=line["error"])
    usage = {name: many for name, many in line["usage"].items() if isinstance(many, int)}
    if "tags" in line:
        return Answer(asked.document, asked.task, "\n".join(line["tags"]), tuple(line["tags"]), usage)
    text: str = line["summary"] if "summary" in line else line["text"]
    return Answer(
        asked.document, asked.task, text, tags_in(text, given.max_tags) if asked.task == "tags" else (), usage
    )


def _timed(work: Callable[[], list[Answer]]) -> Outcome:
    begun = time.perf_counter()
    answers = work()
    return Outcome(answers, time.perf_counter() - begun)
