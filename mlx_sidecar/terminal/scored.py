"""How tags with scores, and quotes that are evidence, look at a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mlx_sidecar.protocol.responses import Classified, Quote, SentenceEvidence, Summary, Tags
from mlx_sidecar.tasks.words import content_words, light_stem

_NOTHING = "nothing in the document"


def tag_lines(result: Tags) -> list[str]:
    """A line for each tag: its score, where there is one, then the tag, then what it comes from, below it."""
    lines = list[str]()
    for number, tag in enumerate(result.tags):
        score = f"{result.scores[number]:.2f} " if isinstance(result.scores, list) else ""
        lines.append(f"{score}{tag}")
        if isinstance(result.evidence, list):
            lines += quote_lines(result.evidence[number])
    return lines


def label_lines(result: Classified, *, with_scores: bool) -> list[str]:
    """The labels that fit, or with scores all of them; below each that fits what it comes from, where that is known."""
    fitting = _fitting(result)
    quotes = dict(zip(fitting, result.evidence, strict=True)) if isinstance(result.evidence, list) else {}
    scores = {score.label: score.score for score in result.scores}
    lines = list[str]()
    for label in scores if with_scores else fitting:
        lines.append(f"{scores[label]:.2f} {label}" if with_scores else label)
        if label in quotes:
            lines += quote_lines(quotes[label])
    return lines


def sentence_lines(evidence: Sequence[SentenceEvidence]) -> list[str]:
    """Each sentence of a summary, and below it what it rests on."""
    return [line for each in evidence for line in (each.sentence, *quote_lines(each.sources))]


def quote_lines(quotes: Sequence[Quote]) -> list[str]:
    """Quotes, each in a line of its own."""
    return [f"    “{' '.join(quote.quote.split())}”" for quote in quotes] or [f"    ({_NOTHING})"]


def marked_words(result: Tags | Classified | Summary) -> list[str]:
    """What a terminal shows in colour: the words of quotes that are those of the tag, label or sentence they speak for.

    And the tags and labels themselves.
    """
    if not isinstance(result.evidence, list):
        return []
    if isinstance(result, Summary):
        return sorted({word for each in result.evidence for word in _shared(each.sentence, each.sources)})
    named = result.tags if isinstance(result, Tags) else _fitting(result)
    shared = {word for name, quotes in zip(named, result.evidence, strict=True) for word in _shared(name, quotes)}
    return sorted({*named, *shared})


def _shared(text: str, quotes: Iterable[Quote]) -> set[str]:
    args = {light_stem(word) for word in content_words(text)}
    return {word for quote in quotes for word in content_words(quote.quote) if light_stem(word) in args}


def _fitting(result: Classified) -> list[str]:
    return result.labels if isinstance(result.labels, list) else [str(result.label)]
