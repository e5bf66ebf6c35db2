"""Where the raw text comes from: Debian's package descriptions and the SCOWL word list. Owns fetching and cleaning."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_LISTS = Path("/var/lib/apt/lists")
_CAT_FILE = "/usr/lib/apt/apt-helper"
SCOWL_FILES = ("english-words.10", "english-words.20")
_ABBREVIATION = re.compile(r"\b(?:e\.g|i\.e|etc|vs|cf|approx|Dr|Mr|Mrs|St|No|Inc|Ltd|[A-Z])\.$")
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')]?\s+(?=[\"'(]?[A-Z0-9])")
_PLAIN = re.compile(r"[\x20-\x7e’‘“”–—éèüöäñç]+")
_MOST_REPEATS = 2


@dataclass(frozen=True)
class Description:
    """One package's description: its one-line synopsis and the sentences of its long text."""

    synopsis: str
    sentences: tuple[str, ...]


def split_sentences(text: str) -> list[str]:
    """The sentences of one paragraph, each exactly as it stands in it."""
    sentences: list[str] = []
    start = 0
    for match in _SENTENCE_END.finditer(text):
        piece = text[start : match.start()]
        if not _ABBREVIATION.search(piece):
            sentences.append(text[start : match.end()].strip())
            start = match.end()
    sentences.append(text[start:].strip())
    return [sentence for sentence in sentences if sentence]


def _stanzas() -> Iterator[str]:
    for path in sorted(_LISTS.glob("*Translation-en*")):
        listing = subprocess.run([_CAT_FILE, "cat-file", str(path)], capture_output=True, check=True)
        yield from listing.stdout.decode("utf-8", "replace").split("\n\n")


def _paragraphs(body: str) -> Iterator[str]:
    """The prose paragraphs of a long description; list items and preformatted lines are left out."""
    for block in re.split(r"\n \.(?=\n|$)", body):
        lines = [line for line in block.split("\n") if line.strip()]
        if lines and not any(line.startswith("  ") or re.match(r" [*-]", line) for line in lines):
            yield " ".join(line.strip() for line in lines)


def _parse(stanza: str) -> Description | None:
    match = re.search(r"^Description-en: (.*)\n((?: .*\n?)*)", stanza, re.M)
    if not match:
        return None
    sentences = [s for paragraph in _paragraphs(match[2]) for s in split_sentences(paragraph)]
    plain = [s for s in sentences if _PLAIN.fullmatch(s) and 3 <= len(s.split()) <= 60 and s[-1] in ".!?"]
    return Description(match[1].strip(), tuple(plain))


def debian_descriptions() -> list[Description]:
    """Every description with at least two sentences that are not boilerplate, in a fixed order."""
    parsed = [description for stanza in _stanzas() if (description := _parse(stanza))]
    texts = Counter(sentence for description in parsed for sentence in set(description.sentences))
    seen: set[str] = set()
    kept: list[Description] = []
    for description in parsed:
        fresh = tuple(s for s in description.sentences if texts[s] <= _MOST_REPEATS and s not in seen)
        seen.update(fresh)
        if len(fresh) >= 2:
            kept.append(Description(description.synopsis, fresh))
    return kept


def common_words(work: Path, lists: tuple[str, ...] = SCOWL_FILES) -> list[str]:
    """The commonest English words by SCOWL, taken from Debian's package of it; its first list is the commonest."""
    root = work / "scowl"
    if not root.exists():
        work.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "download", "scowl"], cwd=work, check=True)
        package = next(work.glob("scowl_*.deb"))
        subprocess.run(["dpkg", "-x", str(package), str(root)], check=True)
    folder = root / "usr/share/dict/scowl"
    words = [word for name in lists for word in (folder / name).read_text("latin-1").split()]
    return [word for word in words if re.fullmatch(r"[a-z]{3,12}", word)]
