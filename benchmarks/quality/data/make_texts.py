"""Merges files of hand-written texts into texts.json, one entry a line: `python make_texts.py FILE...`."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

_KINDS = {
    "contract excerpt": "contract",
    "howto": "how-to",
    "job": "job advert",
    "complaint": "letter of complaint",
    "review": "product review",
    "travel": "travel guide",
}
"""Several people wrote these texts and named their kinds each in their own way."""
_FIELDS = {"id", "kind", "language", "text", "tags", "facts", "summary"}


def merged(files: list[Path]) -> list[dict[str, Any]]:
    """The entries of all files, in order. Raises ValueError where one isn't as it must be."""
    entries = [entry for file in files for entry in json.loads(file.read_text(encoding="utf-8"))]
    seen = set[str]()
    for entry in entries:
        if missing := _FIELDS - entry.keys():
            raise ValueError(f"{entry.get('id')}: no {', '.join(sorted(missing))}")
        if entry["id"] in seen:
            raise ValueError(f"{entry['id']} is there twice")
        seen.add(entry["id"])
        entry["kind"] = _KINDS.get(entry["kind"], entry["kind"])
        for fact in entry["facts"]:
            for pattern in fact["wrong"]:
                if re.compile(pattern, re.IGNORECASE).search(entry["summary"]):
                    raise ValueError(f"{entry['id']}: {pattern} matches the summary, which is right")
    return entries


def main() -> None:
    """Write texts.json beside this file."""
    lines = [json.dumps(entry, ensure_ascii=False) for entry in merged([Path(name) for name in sys.argv[1:]])]
    target = Path(__file__).with_name("texts.json")
    target.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")
    print(f"{len(lines)} texts")


if __name__ == "__main__":
    main()
