"""How one asks without this project: the prompts of the plain systems, and of other runtimes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.quality.sets import Document, DocumentSet

SUMMARY = "Summarize the following text in one sentence."


def summary_prompt(document: Document) -> str:
    """One sentence of instruction, then the text."""
    return f"{SUMMARY}\n\n{document.text}"


def list_prompt(document: Document, given: DocumentSet) -> str:
    """The shortest way of asking."""
    ask = f"List {given.max_tags} tags for this text, separated by commas."
    return f"{ask}{_choose_from(given.vocabulary)}\n\n{document.text}"


def schema_prompt(document: Document, given: DocumentSet) -> str:
    """For an answer that is held to a list of strings."""
    ask = f"List up to {given.max_tags} tags for this text, as a JSON array of strings."
    return f"{ask}{_choose_from(given.vocabulary)}\n\n{document.text}"


def json_prompt(document: Document, given: DocumentSet) -> str:
    """As bookmark managers ask: a role, rules, the text, JSON."""
    rules = [
        f"Aim for 3 to {given.max_tags} tags.",
        "The tags must be in the language of the text."
        if not given.vocabulary
        else f"Choose only from these tags: {', '.join(given.vocabulary)}.",
        "If the text is a notice about cookies or privacy, ignore that part.",
        "If there are no good tags, leave the array empty.",
    ]
    listed = "\n".join(f"- {rule}" for rule in rules)
    return (
        "You are an expert whose responsibility is to help with automatic tagging for a read-it-later app. "
        "Analyze the text between the markers and suggest relevant tags that describe its key themes, topics and "
        f"main ideas. The rules are:\n{listed}\n\n<TEXT_CONTENT>\n{document.text}\n</TEXT_CONTENT>\n\n"
        'You must respond in JSON with the key "tags" and the value is an array of string tags.'
    )


def schema(given: DocumentSet) -> dict[str, Any]:
    """A list of a few strings, of the vocabulary if there is one. Not empty, which is what small models like best."""
    item: dict[str, Any] = {"enum": list(given.vocabulary)} if given.vocabulary else {"type": "string"}
    return {"type": "array", "items": item, "minItems": 1, "maxItems": given.max_tags}


def _choose_from(vocabulary: Sequence[str]) -> str:
    return f" Use only these tags: {', '.join(vocabulary)}." if vocabulary else ""
