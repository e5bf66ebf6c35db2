"""What of a document is shown to the model: what drowns it is shortened, and every place is known in the original."""

from __future__ import annotations

import base64
import random
from collections.abc import Sequence
from typing import Any

import pytest

from mlx_sidecar.errors import InvalidParams
from mlx_sidecar.protocol.requests import Classify, GenerateTags, Summarize, TagsExample
from mlx_sidecar.protocol.responses import Quote, Summary, Tags
from mlx_sidecar.tasks.classify import classify
from mlx_sidecar.tasks.condense import condense, read_request
from mlx_sidecar.tasks.condensed import Condensed, Cut
from mlx_sidecar.tasks.evidence import Quoter, spans_of
from mlx_sidecar.tasks.summary import summarize
from mlx_sidecar.tasks.tags import generate_tags
from mlx_sidecar.tasks.task import Warn
from tests.unit.test_evidence import check
from tests.unit.test_tasks import WordModel, answer, play

TEXT = "The river floods the valley after heavy rain. The town council met on Tuesday to discuss the new dam."
DRAWS = random.Random(7)
BYTES = bytes(DRAWS.randrange(256) for _ in range(3000))
BASE64, HEX = base64.b64encode(BYTES).decode(), BYTES.hex()


def done(steps: Any) -> Any:
    """What it returns."""
    while True:
        try:
            next(steps)
        except StopIteration as finished:
            return finished.value


def condensed(content: str) -> Condensed:
    """The document, of which each visible character is the original's at its place."""
    found: Condensed = done(condense(content))
    assert all(found.original[found.origin(at)] == sign for at, sign in enumerate(found.text) if not sign.isspace())
    return found


@pytest.mark.parametrize(
    "blanks",
    [
        "\n" * 200,
        " " * 1500,
        "\f",
        "\f" * 9,
        "\t" * 60,
        "\r\n" * 80,
        "\r" * 80,
        " \n" * 300,
        "\u00a0" * 400,
        "\u3000" * 50,
        "\u200b" * 70,
        " \u200b\u00a0" * 50,
        "\u2028\u2029" * 10,
        "\x85" * 10,
        "\v" * 30,
        "\u2800" * 40,
        "\x00" * 30,
        "\n\n\n\n" + "\t" * 40 + "\n\n",
    ],
    ids=ascii,
)
def test_rows_of_blanks_are_shortened(blanks: str) -> None:
    """Before, after and within the text, whatever they are made of; nothing is told of them."""
    found = condensed(f"{blanks}{TEXT[:45]}{blanks}{TEXT[45:]}{blanks}")
    assert found.text.split() == TEXT.split()
    assert len(found.text) <= len(TEXT) + 8
    assert found.text == found.text.strip()
    assert not found.passed_over


@pytest.mark.parametrize(
    "content",
    [
        "def f(x):\n    if x:\n        for y in x:\n            print(y)\n\n    return x\n",
        "\n".join(" " * (4 * n) + f"if condition_{n}:" for n in range(8)),
        "# Title\n\n- one\n  - two\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```\ncode\n```\n",
        "Title of a text\n" + "=" * 80 + "\n\nText with a rule.\n\n" + "-" * 80 + "\n",
        "Roses are red,\n    violets are blue;\n\n\tthe third line\n\n",
        "Windows\r\nline\r\n\r\nbreaks\r\n",
        "Name          Price\nBread          2.50\nMilk           1.10\n",
        "sha256 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 of the file",
        "https://example.com/2024/05/the-river-floods-the-valley-after-heavy-rain-in-spring-and-the-town-council-met",
        "na na na na, la la la la la la la la la la, ha ha",
        "खाता ‌है می‌خواهم 👨‍👩‍👧 ❤️‍🔥 naïve",
        "  two blanks, and one at the end ",
        "word " * 500,
        "The gardener prunes the roses early in the spring. " * 120,
        "e\u0301 " * 400,
        "1 2 3 4 5 6 7 8 9 10 11 12 of the numbers",
    ],
    ids=lambda content: ascii(content[:20]),
)
def test_what_people_write_stays_to_the_character(content: str) -> None:
    """Code, markup, verses, lists, small tables."""
    assert condensed(content).text == content


@pytest.mark.parametrize(
    ("noise", "kind"),
    [
        ("=" * 300, "the same signs again and again"),
        ("." * 5000, "the same signs again and again"),
        ("a" * 5000, "the same signs again and again"),
        ("- " * 400, "the same signs again and again"),
        ("=-" * 400, "the same signs again and again"),
        ("&nbsp;" * 100, "the same signs again and again"),
        ("😂" * 300, "the same signs again and again"),
        (BASE64, "encoded data"),
        ("\n".join(BASE64[at : at + 76] for at in range(0, len(BASE64), 76)), "encoded data"),
        ("\n".join(f"> {BASE64[at : at + 64]}" for at in range(0, len(BASE64), 64)), "encoded data"),
        ('"' + '" +\n"'.join(BASE64[at : at + 64] for at in range(0, len(BASE64), 64)) + '"', "encoded data"),
        (HEX, "encoded data"),
        (HEX.upper(), "encoded data"),
        (f"![](data:image/png;base64,{BASE64})", "encoded data"),
        (f'<img src="data:image/svg+xml,{"".join(f"%3Cp%20d={n}%20/%3E" for n in range(40))}">', "encoded data"),
        ("".join(DRAWS.choice("ACGT") for _ in range(600)), "encoded data"),
        ("\n".join("\t".join(str(n * m) for n in range(9)) for m in range(90)), "numbers without words"),
        ("\n".join(",".join(str(n / 7) for n in range(m, m + 6)) for m in range(90)), "numbers without words"),
        (" ".join(f"{byte:02x}" for byte in BYTES), "numbers without words"),
        ("[" + ",".join(str(DRAWS.random()) for _ in range(500)) + "]", "numbers without words"),
        ("| " + " | ".join(str(n) for n in range(500)) + " |", "numbers without words"),
        (("=" * 70 + "\n") * 60, "the same signs again and again"),
        ("\n".join("=" * n for n in range(20, 90)), "signs without words"),
    ],
    ids=lambda given: ascii(given[:14]),
)
def test_what_says_nothing_is_passed_over_and_told(noise: str, kind: str) -> None:
    """How many characters, and of what; the text around it stays."""
    content = f"{TEXT}\n\n{noise}\n\nThe dam opens in May."
    shown, warnings = read(content)
    assert shown.text.startswith(TEXT)
    assert shown.text.endswith("The dam opens in May.")
    assert len(shown.text) < len(TEXT) + 330
    assert warnings[0] == f"field 'content': passed over {shown.passed_over[kind]:,} characters of {kind}"
    assert 0.6 * len(noise) < shown.passed_over[kind] <= len(noise)


def read(content: str, **options: Any) -> tuple[Condensed, Sequence[str]]:
    """The document as a task has it, and the warnings."""
    warnings, steps = list[str](), read_request(GenerateTags(content=content, **options))
    while True:
        try:
            wish = next(steps)
        except StopIteration as finished:
            return finished.value[1], warnings
        if isinstance(wish, Warn):
            warnings += wish.warnings


@pytest.mark.parametrize("noise", ["=" * 300, "a" * 300, BASE64, HEX, "3.14 2.71 " * 200, "1,2,3\n" * 400])
@pytest.mark.parametrize(
    "task",
    [
        lambda content: generate_tags(GenerateTags(content=content), WordModel(500), 0.0),
        lambda content: summarize(Summarize(content=content), WordModel(500), 0.0),
        lambda content: classify(Classify(content=content, labels=["a", "b"]), WordModel(500), 0.0),
    ],
    ids=["tags", "summary", "classify"],
)
def test_nothing_else_is_an_error_that_says_what_to_do(task: Any, noise: str) -> None:
    """Instead of an answer about nothing."""
    with pytest.raises(InvalidParams, match=r"there are no words in it, only [0-9,]+ characters of .*; send text"):
        done(task(noise))


HIDDEN = ["\u00ad", "\u200b", "\u202e", "\u2067", "\u2069", "\ufeff", "\u2060", "\U000e0041\U000e0042"]
KEPT = [
    "👨‍👩‍👧",
    "❤️‍🔥",
    "✈️",
    "می‌خواهم",
    "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
    "שלום\u200f!",
    "葛\U000e0100",
]


@pytest.mark.parametrize("hidden", HIDDEN, ids=ascii)
def test_what_is_hidden_in_a_text_is_not_shown_to_the_model(hidden: str) -> None:
    """It divides words, turns lines around or says what nobody sees; the places are the original's."""
    content = f"{hidden}The ri{hidden}ver floods{hidden}\n{hidden}the valley {hidden}, {KEPT[0]}{hidden}."
    found = condensed(content)
    assert found.text == f"The river floods\nthe valley , {KEPT[0]}."
    assert not found.passed_over


@pytest.mark.parametrize("kept", KEPT, ids=ascii)
def test_what_joins_signs_stays(kept: str) -> None:
    """Joiners, variation selectors, marks of a direction, flags."""
    assert condensed(f"{kept} {TEXT}").text == f"{kept} {TEXT}"


@pytest.mark.parametrize("content", ["\u200b" * 40, "\ufeff", "\u2800 \u00ad", "\x00\x01", " \x07 "])
def test_what_is_invisible_is_blank(content: str) -> None:
    """As blanks of any other kind."""
    with pytest.raises(InvalidParams, match="nothing but blanks"):
        done(generate_tags(GenerateTags(content=content), WordModel(500), 0.0))


def test_the_model_reads_the_condensed_text_and_quotes_are_the_originals() -> None:
    """In UTF-16 code units, blanks and all."""
    content = f"😀{' ' * 900}Floods{' ' * 60}in 🌊 the valley.\n\n{'=' * 500}\n{BASE64}\nBridges are closed."
    request = GenerateTags(content=content, evidence=True)
    asked, found = play(generate_tags(request, WordModel(500), 0.0), [answer("floods, bridges")])
    assert len(asked[0][0].prompt) < 450
    assert isinstance(found, Tags)
    assert isinstance(found.evidence, list)
    first, second = [check(list(each), content) for each in found.evidence]
    assert first == ["Floods" + " " * 60 + "in 🌊 the valley."]
    assert second == ["Bridges are closed."]


def test_a_sentence_that_is_long_in_the_original_is_quoted_in_pieces() -> None:
    """No quote is longer than others, however few words are in it."""
    content = (" " * 150).join(TEXT.split())
    document = condensed(content)
    found: list[Quote] = Quoter(document).quotes(spans_of(document))
    assert " ".join(" ".join(check(found, content)).split()) == TEXT
    assert max(len(each.quote) for each in found) <= 320


def test_examples_are_condensed_as_documents_are() -> None:
    """They are shown to the model, too."""
    examples = [TagsExample(content=f"Bees{' ' * 500}and honey", tags=["bees"])]
    shown, _ = done(read_request(GenerateTags(content=TEXT, examples=examples)))
    assert shown.examples[0].content == "Bees  and honey"


def test_cuts_of_cuts_keep_their_places() -> None:
    """Whatever is cut in whatever order."""
    for seed in range(200):
        draws = random.Random(seed)
        document = Condensed("".join(chr(0x4E00 + n) for n in range(60)))
        for _ in range(3):
            bounds = sorted(draws.sample(range(len(document.text) + 1), k=min(6, len(document.text) // 2 * 2)))
            document.cut(
                [
                    Cut(a, b, put=" " * draws.randrange(b - a + 1))
                    for a, b in zip(bounds[::2], bounds[1::2], strict=True)
                ]
            )
            for at, sign in enumerate(document.text):
                assert sign == " " or document.original[document.origin(at)] == sign


def test_a_summary_quotes_the_original_too() -> None:
    """The same places for both tasks."""
    content = f"The dam{' ' * 80}opens in May.{BASE64}"
    summary = Summarize(content=content, evidence=True)
    _, found = play(summarize(summary, WordModel(500), 0.0), [answer("The dam opens in May.")])
    assert isinstance(found, Summary)
    assert isinstance(found.evidence, list)
    assert check(list(found.evidence[0].sources), content) == ["The dam" + " " * 80 + "opens in May."]
