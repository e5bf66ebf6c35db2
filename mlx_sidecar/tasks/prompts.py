"""The words that the tasks put to the model. Owns the wording and nothing else.

The document comes first and the instruction last, so that every task on one
document shares its prefill through the prefix cache. The embedded model is
trained on these very strings: a change here means training it again.
"""

from __future__ import annotations

from collections.abc import Sequence

from mlx_sidecar.engine.job import Turn

_STYLES = {
    "sentence": "Summarize the document in one sentence. Write only that sentence.",
    "paragraph": "Summarize the document in one paragraph. Write only that paragraph.",
    "bullets": 'Summarize the document in a few bullet points, one per line, each starting with "- ". '
    "Write only the bullet points.",
}


def with_document(content: str, instruction: str) -> str:
    """The user's turn: the document, fenced off, and then what to do with it."""
    return f"<document>\n{content}\n</document>\n\n{instruction}"


def document_turn(content: str, instruction: str) -> Turn:
    """The same as a turn, all of which but the instruction other prompts are likely to have."""
    return Turn("user", with_document(content, instruction), (len(with_document(content, "").rstrip()),))


def tags_instruction(
    max_tags: int, vocabulary: Sequence[str] = (), *, only: bool = False, language: str | None = None
) -> str:
    """Ask for one tag per line; tags never hold a line break, so nothing needs quoting."""
    parts = [f"List up to {max_tags} tags for the document: its main topics, most important first, one per line."]
    if vocabulary:
        rule = "Use only these tags" if only else "Prefer these tags where they fit"
        parts.append(f"{rule}: {'; '.join(vocabulary)}.")
    else:
        parts.append("Each tag is one to three words in lower case.")
    if language:
        parts.append(f"Write the tags in {language}.")
    parts.append("Write only the tags.")
    return " ".join(parts)


def summary_instruction(style: str, *, max_words: int | None = None, language: str | None = None) -> str:
    """Ask for a summary in one of the three styles: sentence, paragraph or bullets."""
    parts = [_STYLES[style]]
    if max_words:
        parts.append(f"Use at most {max_words} words.")
    if language:
        parts.append(f"Write in {language}.")
    return " ".join(parts)
