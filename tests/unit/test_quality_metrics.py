"""The quality benchmark judges tags and summaries as a reader would, as far as that goes without one."""

from __future__ import annotations

import pytest

from benchmarks.quality import summaries, tags
from benchmarks.quality.answers import Answer, tags_in
from benchmarks.quality.language import guessed
from benchmarks.quality.metrics import micro, summary_figures, tag_figures, usage_figures
from benchmarks.quality.sets import SETS, Document, DocumentSet, Missing, loaded
from benchmarks.quality.summaries import Fact
from benchmarks.quality.words import alike, english_stem

ACCEPTED = ["gardening", "rose pruning", "Garden tools", "e-mail"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        *(("roses", "rose"), ("pruning", "prune"), ("cities", "city"), ("running", "run"), ("baked", "baking")),
        *(("boxes", "box"), ("glasses", "glass"), ("tests", "testing"), ("planned", "planning")),
    ],
)
def test_english_forms_have_one_stem(one: str, other: str) -> None:
    assert english_stem(one) == english_stem(other)


@pytest.mark.parametrize("word", ["bus", "this", "news", "thing", "red", "analysis"])
def test_endings_that_are_none_leave_a_word(word: str) -> None:
    assert len(english_stem(word)) >= 3


@pytest.mark.parametrize(
    ("one", "other", "language", "same"),
    [
        ("Fenster", "Fenstern", "de", True),
        ("häuser", "haus", "de", True),
        ("voiture", "voitures", "fr", True),
        ("libro", "libri", "it", True),
        ("internet", "international", "fr", False),
        ("garten", "gartenarbeit", "de", False),
        ("plan", "planet", "en", False),
    ],
)
def test_other_languages_go_by_the_beginning(one: str, other: str, language: str, same: bool) -> None:
    assert alike(one.casefold(), other.casefold(), language) is same


@pytest.mark.parametrize(
    "tag", ["Gardening", "garden", "E_Mail", "pruning of roses", "ｇａｒｄｅｎｉｎｇ", "rose-pruning"]
)
def test_a_tag_of_accepted_words_is_accepted(tag: str) -> None:
    assert tags.is_accepted(tag, ACCEPTED, "en")


@pytest.mark.parametrize("tag", ["tulips", "rose water", "the", "", "of the"])
def test_other_tags_arent(tag: str) -> None:
    assert not tags.is_accepted(tag, ACCEPTED, "en")


def test_only_a_whole_accepted_tag_is_listed() -> None:
    assert tags.is_listed("pruning roses", ACCEPTED, "en")
    assert not tags.is_listed("tools", ACCEPTED, "en")


@pytest.mark.parametrize(
    ("tag", "accepted"),
    [("会議", True), ("会議室予約", True), ("会", False), ("この文書は会議についての文書です", False), ("料理", False)],
)
def test_without_blanks_a_part_will_do(tag: str, accepted: bool) -> None:
    assert tags.is_accepted(tag, ["会議", "予約"], "ja") is accepted


@pytest.mark.parametrize(
    ("tag", "language"),
    [
        ("Prune the roses.", "en"),
        ("the mayor has resigned", "en"),
        ("how to prune all your roses", "en"),
        ("der Mietvertrag wird gekündigt", "de"),
        ("会議は来週です", "ja"),
    ],
)
def test_sentences_are_known(tag: str, language: str) -> None:
    assert tags.is_sentence(tag, language)


@pytest.mark.parametrize(
    ("tag", "language"), [("must-have", "en"), ("to do list", "en"), ("会議室", "ja"), ("Node.js", "en")]
)
def test_tags_are_no_sentences(tag: str, language: str) -> None:
    assert not tags.is_sentence(tag, language)


@pytest.mark.parametrize(
    ("tag", "cut"),
    [("photosynth", True), ("leaf photosynth", True), ("plant", False), ("photosynthesis", False), ("known", False)],
)
def test_a_word_that_was_cut_is_seen(tag: str, cut: bool) -> None:
    text = ["photosynthesis", "in", "plants", "knowngood"]
    assert tags.is_cut(tag, text, "en", {"known"}) is cut


@pytest.mark.parametrize(("tag", "is_open"), [("black-and-white photos of", True), ("pruning", False), ("in", False)])
def test_an_open_end_is_seen(tag: str, is_open: bool) -> None:
    assert tags.is_open(tag, "en") is is_open


@pytest.mark.parametrize("text", ["List up to 5 tags for the document", "2. Most important first", "rain </document>"])
def test_an_echo_of_the_instruction_is_seen(text: str) -> None:
    assert tags.is_echo(text)
    assert not tags.is_echo("a list of plants, most of them important")


def test_a_sentence_of_accepted_words_is_no_tag() -> None:
    assert not tags.is_accepted("The rose is gardening", ACCEPTED, "en")
    assert tags.is_accepted("To Whom It May Concern", ["To whom it may concern"], "en")


def test_marks_count_duplicates_and_english_tags() -> None:
    marks = tags.judged(["Rosen", "rosen", "roses"], "Rosen schneiden", "de", ["Rosen"], ["roses"], set())
    assert [mark.duplicate for mark in marks] == [False, True, False]
    assert [(mark.accepted, mark.accepted_in_english) for mark in marks][-1] in [(True, False), (False, True)]
    assert [mark.in_text for mark in marks][:2] == [True, True]


def test_rouge_is_of_the_longest_common_subsequence() -> None:
    assert summaries.rouge_l("the cat sat", "the cat sat", "en") == 1
    assert summaries.rouge_l("the cat", "the black cat sat", "en") == pytest.approx(4 / 6)
    assert summaries.rouge_l("会議中止", "会議は中止", "ja") == pytest.approx(8 / 9)
    assert summaries.rouge_l("", "anything", "en") == 0


@pytest.mark.parametrize(
    "summary",
    [
        *("The document describes roses.", "This email says", "Das Dokument beschreibt", "Der Text", "L'article parle"),
        *(
            "Le document",
            "El texto trata",
            "Il testo",
            "この文書は",
            "该文档",
            "本文介绍",
            "这篇文章",
            "Article about roses",
        ),
    ],
)
def test_a_beginning_with_the_document_is_seen(summary: str) -> None:
    assert summaries.is_about_itself(summary)


@pytest.mark.parametrize(
    "summary", ["The roses", "Documentation is due", "Textile workers", "Der Textilhandel", "本田"]
)
def test_other_beginnings_are_fine(summary: str) -> None:
    assert not summaries.is_about_itself(summary)


@pytest.mark.parametrize(
    ("summary", "twice"),
    [
        ("It rained. Then it snowed. It rained.", True),
        ("a copyright notice with a copyright notice with a copyright notice with a copyright notice", True),
        ("One two three four five six seven.", False),
        ("The town paid for the bridge and the bank paid for the road.", False),
    ],
)
def test_what_is_said_twice_is_seen(summary: str, twice: bool) -> None:
    assert summaries.says_twice(summary, "en") is twice


@pytest.mark.parametrize(
    ("summary", "text", "language", "new"),
    [
        ("It cost 1,200 euros", "Cost: 1200 euros", "en", []),
        ("Es kostete 1.200,50 Euro", "1200.5 Euro", "de", []),
        ("3 boats", "three boats", "en", []),
        ("In 2022, 7 boats", "In 2021 boats", "en", ["2022", "7"]),
        ("三月五日に5人", "五人が来た", "ja", []),
        ("at 09:30", "at 9:30", "en", []),
    ],
)
def test_numbers_that_are_nowhere_are_new(summary: str, text: str, language: str, new: list[str]) -> None:
    assert summaries.new_numbers(summary, text, language) == new


@pytest.mark.parametrize(
    ("summary", "language", "new"),
    [
        ("Yesterday Anna's bridge fell in Paris.", "en", ["Paris"]),
        ("Bridges fell. Nobody knew, said Anna.", "en", []),
        ("Die Brücke von Paris", "de", []),
        ("A Guide To Building Bridges", "en", []),
    ],
)
def test_names_that_are_nowhere_are_new(summary: str, language: str, new: list[str]) -> None:
    assert summaries.new_names(summary, "Anna built a bridge.", language) == new


def test_facts_are_contradicted_by_their_patterns() -> None:
    facts = [Fact("It was not renewed.", (r"\bwas renewed\b",)), Fact("It is closed.", (r"\bis open\b",))]
    assert summaries.contradicted("The lease WAS renewed.", facts) == ["It was not renewed."]


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("The roses are in the garden and it is raining.", "en"),
        ("Die Rosen sind im Garten und es regnet nicht.", "de"),
        ("Les roses sont dans le jardin et il pleut.", "fr"),
        ("Las rosas están en el jardín y no llueve.", "es"),
        ("Le rose sono nel giardino e non piove.", "it"),
        ("バラは庭にある。", "ja"),
        ("玫瑰在花园里。", "zh"),
        ("4711", None),
    ],
)
def test_languages_are_guessed(text: str, language: str | None) -> None:
    assert guessed(text) == language


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('Sure! {"tags": ["a b", "c"]} Done.', ("a b", "c")),
        ('```json\n{"tags": [{"name": "a"}, {"name": "b"}]}\n```', ("a", "b")),
        ('{"tags": ["a", "b", "c', ("a", "b")),
        ("Here are 3 tags: a, b, c", ("a", "b", "c")),
        ("1. a\n2. b\n\nI hope this helps, really.", ("a", "b")),
        ("- **a**\n- b", ("a", "b")),
        ("#a #b", ("a", "b")),
        ("a、b、c", ("a", "b", "c")),
        ("a, b, c, d, e, f", ("a", "b", "c", "d", "e")),
        ("[]", ()),
        ("", ()),
    ],
)
def test_free_answers_are_read_leniently(text: str, found: tuple[str, ...]) -> None:
    assert tags_in(text, 5) == found


def test_micro_is_over_all_tags() -> None:
    found = micro([(["A", "b"], ["a"]), ([], ["c"]), (["d"], ["d"])])
    assert (found.precision, found.recall) == (2 / 3, 2 / 3)
    assert micro([([], [])]).f1 == 0


def test_figures_of_a_small_set() -> None:
    document = Document("1", "Prune the roses in spring.", ("roses", "pruning", "spring"), summary="Prune roses.")
    given = DocumentSet("small", (document,))
    answers = [
        Answer("1", "tags", "", ("roses", "Pruning", "spring", "tulips"), {"output_tokens": 8, "overruled_tokens": 2}),
        Answer("1", "summary", "The document says prune roses.", usage={"output_tokens": 2, "overruled_tokens": 0}),
    ]
    found = tag_figures(given, answers)
    assert (found["given"], found["accepted"], found["share"], found["texts with 3"]) == (4, 3, 0.75, 1)
    summary = summary_figures(given, answers)
    assert (summary["about itself"], summary["contradicted"]) == (1, 0)
    assert usage_figures(answers, 1.5)["overruled"] == 0.2
    assert usage_figures([Answer("1", "tags", "")], None)["overruled"] is None


def test_chosen_tags_are_measured_against_the_vocabulary() -> None:
    documents = (Document("1", "…", ("a", "b")), Document("2", "…", ("c",)))
    given = DocumentSet("chosen", documents, vocabulary=("a", "b", "c"))
    found = tag_figures(given, [Answer("1", "tags", "", ("a", "x")), Answer("2", "tags", "", ())])
    assert (found["precision"], found["recall"]) == (0.5, 1 / 3)
    assert (found["not in the vocabulary"], found["none"]) == (0.5, 1)


@pytest.mark.parametrize("name", ["texts", "npm", "debian"])
def test_the_sets_are_whole(name: str) -> None:
    given = loaded(name, None)
    assert len({document.id for document in given.documents}) == len(given.documents) >= 60
    assert all(document.tags and document.text for document in given.documents)
    assert all(len(entry) <= 40 for entry in given.vocabulary)
    assert {tag for document in given.documents for tag in document.tags} <= set(given.vocabulary) or name != "debian"


def test_a_greater_limit_has_the_documents_of_a_smaller_one() -> None:
    few, more = (loaded("debian", limit).documents for limit in (5, 9))
    assert (len(few), len(more)) == (5, 9)
    assert set(few) < set(more)


def test_a_set_that_isnt_there_says_so() -> None:
    with pytest.raises(Missing, match="schemas"):
        SETS["schemas"]()
