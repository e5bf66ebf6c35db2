"""Words that were given up don't come back, the glossary has each term once, and the module table is the linter's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GONE_WORDS = frozenset(
    {"farewell", "ledger", "lifeline", "outset", "inbox", "chooser", "voice", "rooms", "obituary", "leftovers"}
)
"""As a whole word or as a part of an identifier."""
GONE_NAMES = frozenset(
    {
        "LastResort",
        "Turns",
        "has_its_turn",
        "turn_of",
        "LineCame",
        "SignalCame",
        "DownloadSaid",
        "Board",
        "take_unopened",
        "Happening",
        "NoLine",
        "Begun",
        "callBack",
        "DEAF_MS",
        "BrokenOff",
        "of_response",
        "of_network",
        "Advanced",
        "Wish",
        "OwnProcess",
        "in_slices",
        "let_think",
        "GrammarConstrained",
        "SchemaConstrained",
        "ListConstrained",
        "ProseConstrained",
    }
)
DOCUMENTS = ("README.md", "SECURITY.md", "CONTRIBUTING.md", "protocol.md", "docs/architecture.md")


def texts() -> Iterator[Path]:
    """The code of worker and clients, and the documents about them; the glossary names the words that are gone."""
    yield from (ROOT / "mlx_sidecar").rglob("*.py")
    yield from (ROOT / "clients/typescript/src").rglob("*.ts")
    yield from (ROOT / "docs/decisions").glob("*.md")
    yield from (ROOT / name for name in DOCUMENTS)


def given_up(text: str) -> set[str]:
    """The words and names in this text that were given up."""
    names = set(re.findall(r"\w+", text))
    parts = {part.lower() for name in names for part in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}
    return parts & GONE_WORDS | names & GONE_NAMES


@pytest.mark.parametrize(
    "text", ["class Ledger:", "the_inbox = 1", "a voice for all", "TokenChooser()", "a Board", "Turns"]
)
def test_the_check_finds_words_and_parts_of_identifiers(text: str) -> None:
    """Else it would find nothing in the code, whatever stands there."""
    assert given_up(text)


def test_words_that_were_given_up_do_not_come_back() -> None:
    """docs/glossary.md says what stands for them."""
    found = {str(path.relative_to(ROOT)): words for path in texts() if (words := given_up(path.read_text("utf-8")))}
    assert not found


def test_the_glossary_names_the_words_that_were_given_up() -> None:
    """All that this test looks for."""
    named = set(
        re.findall(r"\w+", (ROOT / "docs/glossary.md").read_text("utf-8").partition("## Words that are gone")[2])
    )
    assert not {word for word in GONE_WORDS | GONE_NAMES if word not in named and word.capitalize() not in named}


def test_the_glossary_has_each_term_once_in_order() -> None:
    """One word for each thing."""
    terms = first_column((ROOT / "docs/glossary.md").read_text("utf-8").partition("## Words that are gone")[0])
    assert len(terms) > 40
    assert terms == sorted(set(terms))


def test_the_modules_of_the_architecture_are_the_layers_of_the_linter() -> None:
    """In their order: the package's, then the server's."""
    written = [re.findall(r"`(\w+)`", cell) for cell in first_column(modules_section())]
    layers = [
        [name.rpartition(".")[2] for name in layer.split(" | ")]
        for layer in re.findall(r'^  "([^"]+)",$', layer_contracts(), re.MULTILINE)
    ]
    assert written == layers


def first_column(text: str) -> list[str]:
    """Of all rows of tables but their heads."""
    cells = re.findall(r"^\| (.*?) \| ", text, re.MULTILINE)
    return [cell for cell in cells if cell not in {"---", "term", "gone", "module"}]


def modules_section() -> str:
    """The part of docs/architecture.md about modules."""
    return (ROOT / "docs/architecture.md").read_text("utf-8").partition("## Modules")[2].partition("\n## ")[0]


def layer_contracts() -> str:
    """The part of pyproject.toml with the layers of the package and of the server."""
    contracts = (ROOT / "pyproject.toml").read_text("utf-8").split("[[tool.importlinter.contracts]]")
    return "".join(contract for contract in contracts if 'type = "layers"' in contract)


def test_paths_that_documents_name_exist() -> None:
    """From the top of the repository or from the package."""
    missing = set[str]()
    for document in (*(ROOT / name for name in DOCUMENTS), *(ROOT / "docs/decisions").glob("*.md")):
        for path in re.findall(r"`((?:[\w.-]+/)+[\w.-]+\.(?:py|ts|mjs|json|md|txt))`", document.read_text("utf-8")):
            if not any((top / path).exists() for top in (ROOT, ROOT / "mlx_sidecar")):
                missing.add(f"{document.name}: {path}")
    assert not missing
