"""The sets of documents, with what readers or authors say of each."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.quality.summaries import Fact

_DATA = Path(__file__).with_name("data")
_LICENCES = Path("/usr/share/common-licenses")
_LICENCE_TAGS = (
    *("licence", "license", "open source", "free software", "software", "copyright", "distribution", "modification"),
    *("source code", "warranty", "terms and conditions", "legal", "intellectual property", "redistribution", "law"),
    *("derivative works", "contributors", "permissions", "copying", "liability", "patents", "agreement"),
)
_LICENCE_NAMES = {
    "Artistic": ("artistic license", "perl", "the artistic license", "standard version", "copyright holder"),
    "CC0-1.0": ("cc0", "creative commons", "public domain", "waiver", "related rights"),
    "Apache-2.0": ("apache license", "apache", "contribution", "licensor"),
    "GPL-2": ("gpl", "gnu general public license", "gnu", "copyleft", "free software foundation"),
}
_JOINED = 5
_JOINED_LANGUAGES = ("en", "de", "fr")


@dataclass(frozen=True)
class Document:
    """A text, the tags that are right for it, and a summary to compare with."""

    id: str
    text: str
    tags: tuple[str, ...]
    kind: str = ""
    language: str = "en"
    tags_en: tuple[str, ...] = ()
    facts: tuple[Fact, ...] = ()
    summary: str = ""


@dataclass(frozen=True)
class DocumentSet:
    """Documents that are asked about in one way. With a vocabulary, tags are chosen from it."""

    name: str
    documents: tuple[Document, ...]
    vocabulary: tuple[str, ...] = ()
    max_tags: int = 5
    context_length: int | None = None
    """For the worker, so that it has to read these in parts."""
    whole: tuple[Document, ...] = ()
    """All documents of the set, where `documents` are a few of them."""


class Missing(Exception):
    """A set that can't be read here, and why."""


def loaded(name: str, limit: int | None) -> DocumentSet:
    """The set; of its documents those that a limit leaves, always the same. Raises Missing."""
    whole = SETS[name]()
    drawn = sorted(whole.documents, key=lambda document: hashlib.sha256(document.id.encode()).digest())[:limit]
    return only(whole, {document.id for document in drawn})


def only(given: DocumentSet, ids: Collection[str]) -> DocumentSet:
    """The same set with these of its documents."""
    kept = tuple(document for document in given.documents if document.id in ids)
    return replace(given, documents=kept, whole=given.whole or given.documents)


def texts() -> DocumentSet:
    """Hand-written texts of many kinds, in seven languages."""
    return DocumentSet("texts", tuple(_document(entry) for entry in _read("texts.json")))


def npm() -> DocumentSet:
    """READMEs of npm packages with the keywords of their authors."""
    return DocumentSet("npm", tuple(_document({"kind": "readme", **entry}) for entry in _read("npm.json")))


def debian() -> DocumentSet:
    """Descriptions of Debian packages, to be tagged with debtags."""
    read = _read("debian.json")
    documents = tuple(_document({**entry, "kind": entry["section"]}) for entry in read["packages"])
    return DocumentSet("debian", documents, tuple(read["vocabulary"].values()))


def long() -> DocumentSet:
    """Licences of this system, and texts of the first set put together."""
    licences = [
        Document(f"licence-{name}", (_LICENCES / name).read_text(encoding="utf-8"), _LICENCE_TAGS + own, "licence")
        for name, own in _LICENCE_NAMES.items()
        if (_LICENCES / name).exists()
    ]
    if missing := len(_LICENCE_NAMES) - len(licences):
        print(f"long: {missing} of {len(_LICENCE_NAMES)} licences left out, not in {_LICENCES}", file=sys.stderr)
    joined = [_joined(language) for language in _JOINED_LANGUAGES]
    return DocumentSet("long", (*licences, *joined), context_length=1024)


def schemas() -> DocumentSet:
    """Cases for generation under a schema, which a module of their own asks."""
    raise Missing("schemas: python -m benchmarks.quality.schemas asks those")


SETS: dict[str, Callable[[], DocumentSet]] = {
    "texts": texts,
    "npm": npm,
    "debian": debian,
    "long": long,
    "schemas": schemas,
}


def _joined(language: str) -> Document:
    """Several texts one after the other, as a day's notes would be."""
    parts = [document for document in texts().documents if document.language == language][:_JOINED]
    return Document(
        f"joined-{language}",
        "\n\n\n".join(part.text for part in parts),
        tuple(tag for part in parts for tag in part.tags),
        "joined",
        language,
        tuple(tag for part in parts for tag in part.tags_en),
        tuple(fact for part in parts for fact in part.facts),
    )


def _read(name: str) -> Any:
    file = _DATA / name
    if not file.exists():
        raise Missing(f"{name} is missing in {_DATA}; see the README there")
    return json.loads(file.read_text(encoding="utf-8"))


def _document(entry: dict[str, Any]) -> Document:
    return Document(
        entry["id"],
        entry["text"],
        tuple(entry["tags"]),
        entry.get("kind", ""),
        entry.get("language", "en"),
        tuple(entry.get("tags_en", ())),
        tuple(Fact(fact["fact"], tuple(fact["wrong"])) for fact in entry.get("facts", ())),
        re.sub(r"\s+", " ", entry.get("summary", "")).strip(),
    )


def by_id(documents: Sequence[Document]) -> dict[str, Document]:
    """The documents by their ids."""
    return {document.id: document for document in documents}
