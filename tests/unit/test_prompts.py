"""What a model is asked: worked examples, the document, the instruction; and words that a model's folder brings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from mlx_sidecar.engine.job import Turn
from mlx_sidecar.errors import ModelInvalid
from mlx_sidecar.tasks.language import UNKNOWN, language_of
from mlx_sidecar.tasks.prompts import SummaryWanted, TagsWanted, summary_question, tags_question
from mlx_sidecar.tasks.wording import FILE, Example, Style, checked, prompts_of
from tests.unit.test_tasks import WordModel

SIZES = (1_000_000, 2_000_000_000)

OWN: dict[str, Any] = {
    "document": "<<{content}>> {instruction}",
    "tags": {"instruction": "tags, {max_tags}!", "free": "", "answer": "{tags}", "separator": " | "},
    "summary": {"sentence": "one sentence!"},
    "examples": [{"content": "Bees dance.", "tags": ["bees", "dance"], "sentence": "Bees do dance."}],
}


def model(params: int = 1_000_000, own: dict[str, Any] | None = None, context_length: int = 4096) -> WordModel:
    """One of this size."""
    made = WordModel(context_length)
    made.param_count, made.task_prompts = params, own
    return made


def said(turns: list[Turn]) -> list[tuple[str, str]]:
    """Roles and contents."""
    return [(turn.role, turn.content) for turn in turns]


def test_the_built_in_examples_have_an_answer_for_every_task() -> None:
    """No tag is longer than a tag may be."""
    prompts = prompts_of(model())
    for example in prompts.examples:
        assert all((example.sentence, example.paragraph, example.bullets))
        assert all(len(tag) <= 40 and len(tag.split()) <= 3 for tag in example.tags)
    assert prompts.examples


def test_a_small_model_sees_each_example_with_the_task_at_hand() -> None:
    """In the very form in which it is asked."""
    assert said(tags_question(model(own=OWN), TagsWanted(2, 3), "x").about("Wasps sting.")) == [
        ("user", "<<Bees dance.>> tags, 2!"),
        ("assistant", "bees | dance"),
        ("user", "<<Wasps sting.>> tags, 2!"),
    ]
    assert said(summary_question(model(own=OWN), SummaryWanted(), "x").about("Wasps sting.")) == [
        ("user", "<<Bees dance.>> one sentence!"),
        ("assistant", "Bees do dance."),
        ("user", "<<Wasps sting.>> one sentence!"),
    ]


def test_examples_keep_to_what_the_request_asks_for() -> None:
    """Fewer tags, and none with more words than a tag may have."""
    own = {**OWN, "examples": [{"content": "Bees dance.", "tags": ["honey bees", "dance", "sun", "hive"]}]}
    assert said(tags_question(model(own=own), TagsWanted(2, 1), "x").about("x"))[1] == ("assistant", "dance | sun")


def test_a_large_model_sees_every_task_so_that_all_share_their_beginning() -> None:
    """Prompts for tags and summary of one document are the same up to the instruction."""
    large = model(2_000_000_000)
    styles: tuple[Style, ...] = ("sentence", "paragraph", "bullets")
    for style in styles:
        tags = tags_question(large, TagsWanted(7, 2, ("a", "b"), "fr"), "x").about("Wasps sting.")
        summary = summary_question(large, SummaryWanted(style, 9), "x").about("Wasps sting.")
        assert tags[:-1] == summary[:-1]
        assert tags[-1].content[: tags[-1].reusable_chars[-1]] == summary[-1].content[: summary[-1].reusable_chars[-1]]
        assert tags[-1].content.startswith("Wasps sting.")


def test_examples_of_the_request_take_the_place_of_the_built_in_ones() -> None:
    """They are shown as the request asks."""
    question = tags_question(model(), TagsWanted(), "x", [Example("Sand is warm.", ("beach days",))])
    assert [content.partition("\n")[0] for _, content in said(question.about("x"))] == [
        "Sand is warm.",
        "Tags: beach days",
        "x",
    ]


def test_examples_that_would_fill_a_small_context_are_left_out() -> None:
    """Where they would take more than a quarter of it."""
    assert len(tags_question(model(context_length=4096), TagsWanted(5, 3), "x").about("x")) > 1
    assert len(tags_question(model(context_length=200), TagsWanted(5, 3), "x").about("x")) == 1


def test_what_a_folder_does_not_say_is_as_it_is_built_in() -> None:
    """The examples, too."""
    prompts = prompts_of(model(own={"tags": {"separator": " | "}}))
    built_in = prompts_of(model())
    assert prompts.tags == msgspec.structs.replace(built_in.tags, separator=" | ")
    assert (prompts.summary, prompts.examples) == (built_in.summary, built_in.examples)


@pytest.mark.parametrize(
    "stated",
    [
        {"document": "{content}"},
        {"document": "{instruction} {content}"},
        {"tags": {"answer": "no place"}},
        {"tags": {"separator": ""}},
        {"tags": {"separator": " / "}},
        {"examples": [{"content": " "}]},
        {"examples": [{"content": "x", "tags": [" "]}]},
        {"tags": "x"},
        {"tags": {"unknown": "x"}},
        {"unknown": 1},
        {"examples": [{"content": ""}]},
        {"examples": [{"content": "x", "tags": "y"}]},
        {"examples": [{"content": "x"}] * 17},
        {"summary": {"sentence": "x" * 5000}},
        {"every_task": "yes"},
    ],
    ids=str,
)
def test_a_file_that_can_not_be_used_is_refused_by_name(stated: dict[str, Any]) -> None:
    """With the reason; nothing of it is passed over."""
    with pytest.raises(ModelInvalid, match=FILE) as refused:
        checked(stated, Path("folder") / FILE)
    assert refused.value.data == {"file": FILE}


def test_braces_in_a_document_are_text() -> None:
    """Only the file's own placeholders are filled in."""
    turns = tags_question(model(own=OWN), TagsWanted(2, 3), "x").about("{instruction} {content} {max_tags}")
    assert turns[-1].content == "<<{instruction} {content} {max_tags}>> tags, 2!"


def test_an_english_text_gets_english_examples_of_a_small_model() -> None:
    """A text in another language sees that answers are in the text's own; a large model always does."""
    spanish = "El puente viejo estará cerrado durante cuatro meses por las obras."
    english = [len(tags_question(model(size), TagsWanted(), "The old bridge is closed.").examples) for size in SIZES]
    foreign = [len(tags_question(model(size), TagsWanted(), spanish).examples) for size in SIZES]
    assert english[0] < foreign[0]
    assert english[1] == foreign[1]


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("The old bridge will be closed for four months.", "English"),
        ("TODO: milk, eggs, passport", "English"),
        ("", "English"),
        ("12 + 3 = 15", "English"),
        ("We met in a café in the old town of Málaga.", "English"),
        ("Die Brücke ist wegen der Bauarbeiten vier Monate nicht befahrbar.", "German"),
        ("Le vieux pont sera fermé pour quatre mois dans la ville.", "French"),
        ("El puente viejo estará cerrado durante cuatro meses por las obras.", "Spanish"),
        ("Il ponte vecchio non apre per i lavori di questa estate.", "Italian"),
        ("A ponte velha não abre por causa das obras, e os carros passam em uma rua ao lado.", "Portuguese"),
        ("De oude brug is vier maanden niet open voor het verkeer van de stad.", "Dutch"),
        ("Most w centrum jest zamknięty i nie będzie otwarty do lipca, ponieważ trwają prace na rzece.", "Polish"),
        ("橋は四か月間閉鎖されます。", "Japanese"),
        ("大桥将关闭四个月，请绕行。", "Chinese"),
        ("다리는 넉 달 동안 닫힙니다.", "Korean"),
        ("Route: Los Gatos, San Jose, Santa Cruz, La Jolla", "English"),
        ("Chili con carne: beans, salsa, pico de gallo", "English"),
        ("Vi ses i morgen på stationen, og husk at det er koldt, så tag en jakke med til turen.", UNKNOWN),
        ("Мост закрыт на четыре месяца.", "the language of the text"),
        ("Starý most bude čtyři měsíce uzavřen kvůli opravám.", "the language of the text"),
    ],
)
def test_languages_are_told_apart(text: str, language: str) -> None:
    """By script, and by the most frequent words."""
    assert language_of(text) == language


def test_a_text_in_another_language_is_to_be_answered_in_it() -> None:
    """The instruction names it, unless the request names another one."""
    german = "Die Brücke ist wegen der Bauarbeiten vier Monate nicht befahrbar."
    assert "in German" in tags_question(model(), TagsWanted(), german).instruction
    assert "in German" in summary_question(model(), SummaryWanted(), german).instruction
    assert "in French" in tags_question(model(), TagsWanted(language="French"), german).instruction
    assert "English" not in tags_question(model(), TagsWanted(), "The bridge is closed.").instruction
