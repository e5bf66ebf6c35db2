"""Makes npm.json of a node_modules folder: `python make_npm.py NODE_MODULES [--most 120]`.

Takes packages under permissive licences with an English README of some length and three keywords of their author's.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[3]))

from benchmarks.quality.language import guessed
from benchmarks.quality.words import key

_LICENCES = {"MIT", "ISC", "BSD-2-Clause", "BSD-3-Clause", "Apache-2.0"}
_LEAST_KEYWORDS, _LEAST_WORDS, _MOST_WORDS, _MOST_OF_ONE = 3, 100, 250, 2


def prose(markdown: str) -> str:
    """A README without badges, images, HTML, link targets and tables of contents; code stays."""
    text = re.sub(r"^---\n.*?\n---\n", "", markdown.replace("\r\n", "\n"), flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r"^\s*(?:```|~~~).*$", "", text, flags=re.MULTILINE)
    text = re.sub(r"</?[a-zA-Z][^<>\n]*(?:\n[^<>\n]*){0,4}>", "", text)
    text = re.sub(r"\[?!\[[^\]]*\](?:\([^)]*\)|\[[^\]]*\])\]?(?:\([^)]*\)|\[[^\]]*\])?", "", text)
    text = re.sub(r"^\s*[-*+\d.]*\s*\[[^\]]*\]\(#[^)]*\)\s*$", "", text, flags=re.MULTILINE)
    text = re.sub(r"\[([^\]]*)\](?:\([^)]*\)|\[[^\]]*\])", r"\1", text)
    text = re.sub(r"^\s*\[[^\]]+\]:.*$|^\s*\|.*\|\s*$|^[=\-*_ ]{3,}$", "", text, flags=re.MULTILINE)
    text = re.sub(r"^#+\s*|\s*#+$|\*\*|__|`|\\(?=[-_*&])", "", text, flags=re.MULTILINE)
    text = re.sub(r"&(?:amp|lt|gt|quot|nbsp);", " ", text)
    return re.sub(r"\n\s*\n\s*", "\n\n", re.sub(r"[ \t]+", " ", text)).strip()


def beginning(text: str, most: int) -> str:
    """The paragraphs up to so many words."""
    given, count = list[str](), 0
    for paragraph in text.split("\n\n"):
        count += len(paragraph.split())
        if given and count > most:
            break
        given.append(paragraph)
    return " ".join("\n\n".join(given).split(" ")[:most])


def copyright_of(folder: Path) -> str:
    """The lines of the licence file that say whose it is, as permissive licences want them kept."""
    files = [
        one for one in sorted(folder.iterdir()) if re.match(r"(?i)(licen[cs]e|copying)", one.name) and one.is_file()
    ]
    lines = "\n".join(one.read_text(encoding="utf-8", errors="replace") for one in files).splitlines()
    said = [line.strip(" *#/") for line in lines if re.match(r"(?i)[\s*#/]*copyright\b.*(?:\d{4}|\(c\)|©)", line)]
    return "; ".join(dict.fromkeys(said))


def _author(stated: dict[str, Any]) -> str:
    author = stated.get("author") or next(iter(stated.get("contributors", ())), "")
    return author["name"] if isinstance(author, dict) else str(author) or f"The authors of {stated['name']}"


def packages(folder: Path) -> Iterator[dict[str, Any]]:
    """Every package that will do."""
    for file in sorted([*folder.glob("*/package.json"), *folder.glob("@*/*/package.json")]):
        stated = json.loads(file.read_text(encoding="utf-8"))
        keywords = stated.get("keywords")
        readmes = sorted(
            one for one in file.parent.iterdir() if re.fullmatch(r"readme\.(md|markdown)", one.name.lower())
        )
        if not isinstance(keywords, list) or not readmes or stated.get("license") not in _LICENCES:
            continue
        distinct = {key(one): one for one in reversed(keywords) if isinstance(one, str) and key(one)}
        text = beginning(prose(readmes[0].read_text(encoding="utf-8", errors="replace")), _MOST_WORDS)
        if len(distinct) >= _LEAST_KEYWORDS and len(text.split()) >= _LEAST_WORDS and guessed(text) == "en":
            yield {
                "id": stated["name"],
                "version": stated["version"],
                "licence": stated["license"],
                "copyright": copyright_of(file.parent) or _author(stated),
                "text": text,
                "tags": sorted(distinct.values()),
                "summary": prose(stated.get("description") or ""),
            }


def chosen(found: Iterator[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    """So many of them, in an order that has nothing to do with their names, and few that begin alike."""
    kept, alike = list[dict[str, Any]](), Counter[str]()
    distinct = {package["id"]: package for package in found}.values()
    for package in sorted(distinct, key=lambda one: hashlib.sha256(one["id"].encode()).digest()):
        family = re.split(r"[/\-.]", package["id"])[0]
        alike[family] += 1
        if alike[family] <= _MOST_OF_ONE:
            kept.append(package)
    return sorted(kept[:most], key=lambda one: str(one["id"]))


def main() -> None:
    """Write npm.json beside this file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--most", type=int, default=120)
    wanted = parser.parse_args()
    lines = [json.dumps(one, ensure_ascii=False) for one in chosen(packages(wanted.folder), wanted.most)]
    Path(__file__).with_name("npm.json").write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")
    print(f"{len(lines)} packages")


if __name__ == "__main__":
    main()
