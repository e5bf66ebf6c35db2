"""How tags with scores, and quotes that are evidence, look at a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from mlx_sidecar.protocol.responses import Classified, Quote, SentenceEvidence, Tags

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
    fitting = result.labels if isinstance(result.labels, list) else [str(result.label)]
    quotes = dict(zip(fitting, result.evidence, strict=True)) if isinstance(result.evidence, list) else {}
    scores = {each.label: each.score for each in result.scores}
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
    return [f"    “{' '.join(each.quote.split())}”" for each in quotes] or [f"    ({_NOTHING})"]
