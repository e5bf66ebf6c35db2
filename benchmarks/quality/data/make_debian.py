"""Makes debian.json of apt's lists: packages with their descriptions and debtags.

    apt-get update -o Acquire::Languages=en && python make_debian.py [--lists /var/lib/apt/lists] [--most 200]

The tags are a closed vocabulary: debtags that say what a package is for, each in words that a reader would understand.
Which packages are taken depends on their names only, so that the same lists give the same file.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

VOCABULARY = {
    "accessibility::input": "input methods",
    "accessibility::speech": "speech synthesis",
    "admin::backup": "backup",
    "admin::boot": "booting",
    "admin::configuring": "system configuration",
    "admin::filesystem": "file systems",
    "admin::hardware": "hardware administration",
    "admin::monitoring": "system monitoring",
    "admin::package-management": "package management",
    "admin::user-management": "user management",
    "admin::virtualization": "virtualization",
    "devel::buildtools": "build tools",
    "devel::compiler": "compilers",
    "devel::debugger": "debugging",
    "devel::lang:c": "C programming",
    "devel::lang:java": "Java programming",
    "devel::lang:perl": "Perl programming",
    "devel::lang:python": "Python programming",
    "devel::rcs": "version control",
    "devel::testing-qa": "software testing",
    "devel::web": "web development",
    "field::astronomy": "astronomy",
    "field::biology": "biology",
    "field::chemistry": "chemistry",
    "field::electronics": "electronics",
    "field::finance": "finance",
    "field::geography": "geography",
    "field::linguistics": "linguistics",
    "field::mathematics": "mathematics",
    "field::medicine": "medicine",
    "field::physics": "physics",
    "field::statistics": "statistics",
    "game::arcade": "arcade games",
    "game::board": "board games",
    "game::puzzle": "puzzle games",
    "game::strategy": "strategy games",
    "game::toys": "desktop toys",
    "hardware::hamradio": "amateur radio",
    "hardware::storage": "disks and storage devices",
    "interface::daemon": "background services",
    "interface::web": "web interface",
    "network::client": "network clients",
    "network::server": "network servers",
    "protocol::http": "HTTP",
    "protocol::ssl": "SSL and TLS",
    "role::documentation": "documentation",
    "role::plugin": "plugins",
    "security::authentication": "authentication",
    "security::cryptography": "cryptography",
    "sound::player": "audio players",
    "use::analysing": "analysis",
    "use::chatting": "chat",
    "use::comparing": "comparison",
    "use::compressing": "compression",
    "use::converting": "conversion",
    "use::downloading": "downloading",
    "use::editing": "editing",
    "use::gameplaying": "games",
    "use::learning": "learning",
    "use::organizing": "organizing data",
    "use::searching": "searching",
    "use::synchronizing": "synchronization",
    "use::timekeeping": "time and clocks",
    "use::typesetting": "typesetting",
    "use::viewing": "viewing",
    "works-with::audio": "audio",
    "works-with::db": "databases",
    "works-with::image": "images",
    "works-with::mail": "email",
    "works-with::network-traffic": "network traffic",
    "works-with::software:source": "source code",
    "works-with::text": "text",
    "works-with::video": "video",
}
_WHATEVER = {"works-with::text", "role::plugin"}
"""Tags that say little by themselves. (Those for command line and graphical interface are left out altogether: hardly a
package is without, and few descriptions say which.)"""
_BROADER = {
    "field::biology": r"field::biology:",
    "field::medicine": r"field::medicine:",
    "game::board": r"game::board:",
    "works-with::image": r"works-with::image:",
    "hardware::storage": r"hardware::storage:",
}
_LEAST_TAGS, _LEAST_MEANING, _MOST_OF_ONE_SET = 3, 2, 6


def stanzas(lists: Path, pattern: str) -> list[dict[str, str]]:
    """The fields of each stanza of apt's lists of that name."""
    found = list[dict[str, str]]()
    for file in sorted(lists.glob(pattern)):
        text = subprocess.run(
            ["/usr/lib/apt/apt-helper", "cat-file", str(file)], check=True, capture_output=True
        ).stdout
        for stanza in text.decode().split("\n\n"):
            fields = re.findall(r"^([A-Za-z0-9-]+):[ ]?(.*(?:\n[ ].*)*)", stanza, re.MULTILINE)
            if fields:
                found.append(dict(fields))
    return found


def debtags(field: str) -> set[str]:
    """The tags; "a::{b,c}" is "a::b" and "a::c"."""
    given = set[str]()
    for one in re.findall(r"[^,{\s]+(?:\{[^}]*\})?", field):
        before, brace, inside = one.partition("{")
        given |= {before + end.strip() for end in inside.rstrip("}").split(",")} if brace else {one}
    for broad, pattern in _BROADER.items():
        if any(re.match(pattern, one) for one in given):
            given.add(broad)
    return given


def description(lines: str) -> str:
    """The long description as prose: paragraphs filled, lists kept."""
    text = re.sub(r"^ ", "", lines, flags=re.MULTILINE)
    text = re.sub(r"^\.$", "", text, flags=re.MULTILINE)
    text = re.sub(r"(?<=\S)\n(?=[^\s*\-+])", " ", text)
    text = re.sub(r"(?<=\S)\n\s{2,}(?=[^\s*\-+])", " ", text)
    return re.sub(r"[ \t]+", " ", text).strip()


def entries(lists: Path) -> list[dict[str, Any]]:
    """Every package that will do."""
    described = {one["Package"]: one["Description-en"] for one in stanzas(lists, "*_main_i18n_Translation-en*")}
    found, texts = list[dict[str, Any]](), set[str]()
    for package in stanzas(lists, "*_main_binary-*_Packages*"):
        synopsis, _, long = described.get(package["Package"], "").partition("\n")
        text = description(long)
        tags = debtags(package.get("Tag", "")) & VOCABULARY.keys()
        if (
            60 <= len(text.split()) <= 250
            and len(tags) >= _LEAST_TAGS
            and len(tags - _WHATEVER) >= _LEAST_MEANING
            and text not in texts
        ):
            texts.add(text)
            readable = sorted(VOCABULARY[tag] for tag in tags)
            found.append(
                {
                    "id": package["Package"],
                    "section": package["Section"],
                    "text": text,
                    "tags": readable,
                    "summary": synopsis,
                }
            )
    return found


def chosen(found: list[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    """So many packages, few of them with the very same tags, few that begin alike (packages of one source)."""
    kept, alike = list[dict[str, Any]](), Counter[str]()
    for one in sorted(found, key=lambda one: hashlib.sha256(one["id"].encode()).digest()):
        sames = [" ".join(one["tags"]), one["id"].split("-")[0], one["text"][:60]]
        if len(kept) < most and alike[sames[0]] < _MOST_OF_ONE_SET and not any(alike[same] for same in sames[1:]):
            kept.append(one)
            alike.update(sames)
    return sorted(kept, key=lambda one: str(one["id"]))


def main() -> None:
    """Write debian.json beside this file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lists", type=Path, default=Path("/var/lib/apt/lists"))
    parser.add_argument("--most", type=int, default=200)
    wanted = parser.parse_args()
    kept = chosen(entries(wanted.lists), wanted.most)
    used = {tag for one in kept for tag in one["tags"]}
    vocabulary = {debtag: readable for debtag, readable in VOCABULARY.items() if readable in used}
    lines = ",\n".join(json.dumps(one, ensure_ascii=False) for one in kept)
    head = json.dumps(vocabulary, ensure_ascii=False, indent=0)
    text = f'{{"vocabulary": {head},\n"packages": [\n{lines}\n]}}\n'
    Path(__file__).with_name("debian.json").write_text(text, encoding="utf-8")
    print(f"{len(kept)} packages, {len(vocabulary)} tags, {sum(len(one['tags']) for one in kept) / len(kept):.2f} each")


if __name__ == "__main__":
    main()
