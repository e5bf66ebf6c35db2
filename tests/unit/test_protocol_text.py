"""protocol.md is numbered rules, one a line, and whoever cites a rule as §1.3 cites one that exists."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROTOCOL = (ROOT / "protocol.md").read_text(encoding="utf-8").partition("<!-- made from the structs: begin -->")[0]
RULE = re.compile(r"- \*\*(\d+)\.(\d+)\*\* [A-Z`].*[.:]$")
"""A rule is a whole sentence or more, on one line."""
CITATION = re.compile(r"§(\d+(?:\.\d+)?)")
CITING = (
    "mlx_sidecar/**/*.py",
    "tests/**/*.py",
    "clients/*/src/**/*.ts",
    "clients/*/test/**/*.ts",
    "docs/**/*.md",
    "*.md",
)


def rules(text: str) -> list[tuple[int, int]]:
    """The numbers of all rules. Raises ValueError for a line in a section that is none."""
    found = []
    for line in text.partition("\n## ")[2].splitlines():
        if rule := RULE.match(line):
            found.append((int(rule[1]), int(rule[2])))
        elif line and not line.startswith(("| ", "## ", "1. ")):
            raise ValueError(line)
    return found


def sections(text: str) -> list[int]:
    """The numbers of all sections."""
    return [int(number) for number in re.findall(r"^## (\d+)\. \w", text, re.MULTILINE)]


def is_in_order(numbers: list[tuple[int, int]]) -> bool:
    """Whether each number is the next of its section, or the first of the next section."""
    steps = all(after in ((before[0], before[1] + 1), (before[0] + 1, 1)) for before, after in pairwise(numbers))
    return numbers[0] == (1, 1) and steps


def test_rules_are_numbered_in_order() -> None:
    """Each has a line and a number of its own, and each section has rules."""
    numbers = rules(PROTOCOL)
    assert len(numbers) > 150
    assert is_in_order(numbers)
    assert sections(PROTOCOL) == sorted({section for section, _ in numbers})


@pytest.mark.parametrize("numbers", [[(1, 2)], [(1, 1), (1, 3)], [(1, 1), (1, 1)], [(1, 1), (3, 1)], [(1, 1), (2, 2)]])
def test_a_number_that_is_missing_or_doubled_is_seen(numbers: list[tuple[int, int]]) -> None:
    """Else the check above would check nothing."""
    assert not is_in_order(numbers)


@pytest.mark.parametrize("line", ["The worker MUST answer.", "- **1.2** It ends", "- No number has it."])
def test_a_line_without_a_number_is_no_rule(line: str) -> None:
    """Nor is one that goes on in the next line."""
    with pytest.raises(ValueError, match=re.escape(line)):
        rules(f"# Title\n\n## 1. Framing\n\n{line}\n")


def citations() -> Iterator[tuple[str, str]]:
    """Each file that cites a rule or a section, with the number."""
    files = {path for pattern in (*CITING, "tests/conformance/**/*.json") for path in ROOT.glob(pattern)}
    for path in sorted(files - {Path(__file__)}):
        if "node_modules" not in path.parts:
            for number in CITATION.findall(path.read_text(encoding="utf-8")):
                yield str(path.relative_to(ROOT)), number


def test_every_rule_that_is_cited_exists() -> None:
    """By transcripts, tests, code and documents, protocol.md among them."""
    known = {f"{section}.{number}" for section, number in rules(PROTOCOL)} | {str(n) for n in sections(PROTOCOL)}
    cited = list(citations())
    assert len(cited) > 150
    assert not [(file, number) for file, number in cited if number not in known]
