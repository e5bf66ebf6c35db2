"""Tables of a run, and of what differs between two."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from benchmarks.quality.answers import Answer, from_json
from benchmarks.quality.metrics import Figures, grouped, summary_figures, tag_figures, usage_figures
from benchmarks.quality.sets import Document, DocumentSet, loaded, only

_KINDS_OF = ("texts", "long")
"""Sets of few kinds."""
_LEAST_GROUPS = 2
_LEAST_CHANGE = 0.0005


def tables(run: Mapping[str, Any], *, common: bool = False) -> Iterator[str]:
    """A few tables for each set of a run; `common` leaves out documents that not all systems were asked about."""
    for name, results in run["sets"].items():
        systems = {system: answers_of(result) for system, result in results.items()}
        if common:
            systems = _of_all(systems)
        given = _asked_of(name, systems.values())
        yield f"\n## {name}: {len(given.documents)} documents\n"
        yield from _table("tags", {system: tag_figures(given, answers) for system, answers in systems.items()})
        yield from _table("summaries", {system: summary_figures(given, answers) for system, answers in systems.items()})
        yield from _by_group(given, systems)
        seconds = {
            # How much of it these documents took isn't known where there were others.
            system: result["seconds"] if len(systems[system]) == len(result["answers"]) else None
            for system, result in results.items()
        }
        yield from _table(
            "cost", {system: usage_figures(answers, seconds[system]) for system, answers in systems.items()}
        )


def answers_of(result: Mapping[str, Any]) -> list[Answer]:
    """The answers of one system on one set, out of the file of a run."""
    return [from_json(answer) for answer in result["answers"]]


def _of_all(systems: Mapping[str, list[Answer]]) -> dict[str, list[Answer]]:
    asked = [{answer.document for answer in answers} for answers in systems.values()]
    both = set.intersection(*asked)
    return {system: [one for one in answers if one.document in both] for system, answers in systems.items()}


def differences(run: Mapping[str, Any], earlier: Mapping[str, Any]) -> Iterator[str]:
    """The figures that changed, over the documents that both runs asked about."""
    yield "\n## Against the earlier run\n"
    if run["model"] != earlier["model"]:
        yield f"The models differ: {run['model']}, before {earlier['model']}.\n"
    yield "| set | system | figure | before | now | change |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for name, results in run["sets"].items():
        for system in [system for system in results if system in earlier["sets"].get(name, {})]:
            now, before = answers_of(results[system]), answers_of(earlier["sets"][name][system])
            both = {(one.document, one.task) for one in now} & {(one.document, one.task) for one in before}
            if not both:
                continue
            figures = [
                _all_figures(name, [one for one in answers if (one.document, one.task) in both])
                for answers in (before, now)
            ]
            for figure, old in figures[0].items():
                new = figures[1].get(figure)
                if old is not None and new is not None and abs(new - old) > _LEAST_CHANGE:
                    shown = f"{_shown(figure, old)} | {_shown(figure, new)} | {new - old:+.3g}"
                    yield f"| {name} | {system} | {figure} | {shown} |"


def _all_figures(name: str, answers: Sequence[Answer]) -> Figures:
    given = only(loaded(name, None), {answer.document for answer in answers})
    tags, summaries = tag_figures(given, answers), summary_figures(given, answers)
    return {
        **{f"tags: {figure}": value for figure, value in tags.items()},
        **{f"summaries: {figure}": value for figure, value in summaries.items()},
        **usage_figures(answers, None),
    }


def _asked_of(name: str, answers: Iterable[Sequence[Answer]]) -> DocumentSet:
    return only(loaded(name, None), {answer.document for found in answers for answer in found})


def _table(title: str, rows: Mapping[str, Figures]) -> Iterator[str]:
    """Rows of systems; a system without figures has no row."""
    there = {system: figures for system, figures in rows.items() if figures}
    if not there:
        return
    columns = list(dict.fromkeys(figure for figures in there.values() for figure in figures))
    yield f"| {title} | {' | '.join(columns)} |"
    yield "| --- |" + " ---: |" * len(columns)
    for system, figures in there.items():
        yield f"| {system} | {' | '.join(_shown(column, figures.get(column)) for column in columns)} |"
    yield ""


def _by_group(given: DocumentSet, systems: Mapping[str, Sequence[Answer]]) -> Iterator[str]:
    """The main figures for each language and each kind of document; languages and kinds are the rows."""
    for grouping in ("language", "kind"):
        groups = {_group(document, grouping) for document in given.documents}
        if len(groups) < _LEAST_GROUPS or (grouping == "kind" and given.name not in _KINDS_OF):
            continue
        found = {system: grouped(given, answers, partial(_group, by=grouping)) for system, answers in systems.items()}
        rows = dict[str, Figures]()
        for group in sorted(groups):
            rows[group] = {}
            for system, pairs in found.items():
                of_tags, of_summaries = pairs.get(group, ({}, {}))
                if of_tags:
                    rows[group][f"{system}: tags"] = of_tags["F1" if given.vocabulary else "share"]
                if of_summaries:
                    rows[group][f"{system}: ROUGE-L"] = of_summaries["ROUGE-L"]
                    rows[group][f"{system}: contradicted"] = of_summaries["contradicted"]
        yield from _table(f"by {grouping}", rows)


def _group(document: Document, by: str) -> str:
    return document.language if by == "language" else document.kind


def _shown(column: str, value: float | None) -> str:
    if value is None:
        return "–"
    if isinstance(value, int):
        return f"{value}"
    return f"{value:.1f}" if column == "seconds" or abs(value) >= 10 else f"{value:.2f}"
