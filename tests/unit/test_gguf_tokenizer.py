"""The tokenizer out of a GGUF file's metadata: the tokens, the ends, the template, and what isn't believed."""

from __future__ import annotations

import itertools
import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
import tokenizers

from mlx_sidecar.engine import gguf_tokenizer
from mlx_sidecar.engine.gguf_tokenizer.pre_tokenizers import _BY_NAME, pre_tokenizer
from mlx_sidecar.engine.job import Turn
from mlx_sidecar.engine.prompt import PromptBuilder
from mlx_sidecar.engine.text import Detokenizer
from mlx_sidecar.engine.tokenizer import TemplateText, Tokenizer
from mlx_sidecar.engine.vocabulary import Vocabulary
from mlx_sidecar.errors import ModelInvalid, ModelUnsupported
from mlx_sidecar.models.gguf.header import read_header
from tests.support.gguf_tokenizers import (
    BYTE,
    BYTES,
    CONTROL,
    NORMAL,
    UNUSED,
    USER_DEFINED,
    header,
    merged,
    scored,
    trained,
)
from tests.support.tokenizers import TOKENIZERS
from tests.unit.test_tokenizer import TEXTS

CORPUS = Path(__file__).parent.parent / "corpus"
CUTS = json.loads((CORPUS / "gguf_pre_tokenizers.json").read_text())
WORDS = {"▁": -1.0, "a": -2.0, "b": -3.0, "n": -4.0, "▁a": -5.0, "an": -6.0, "ana": -7.0, "na": -8.0, "▁ban": -9.0}


def load(metadata: dict[str, Any]) -> Tokenizer:
    """As the worker does."""
    return gguf_tokenizer.load(header(metadata))


def pieces(tokenizer: Tokenizer, text: str) -> list[str]:
    """The tokens' texts."""
    return [str(tokenizer.backend.id_to_token(token)) for token in tokenizer.encode(text)]


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_a_file_encodes_as_the_folder_does(kind: str, tmp_path: Path) -> None:
    """With its special tokens and what is put around a text."""
    made = load(trained(kind, tmp_path))
    folder = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for text in TEXTS:
        if TOKENIZERS[kind].strips_right and "<" in text:
            continue
        for around in (False, True):
            assert made.encode(text, add_special_tokens=around) == folder.encode(text, add_special_tokens=around).ids
    assert made.template == TOKENIZERS[kind].template
    assert made.specials["eos_token"] == TOKENIZERS[kind].eos


def by_scores(text: str, scores: dict[str, float]) -> list[str]:
    """What SentencePiece's BPE makes of a text: again and again the pair with the best score, the leftmost first."""
    symbols = list(text)
    while True:
        made = [(scores.get(left + right, -math.inf), -place) for place, (left, right) in enumerate(pairs(symbols))]
        best, place = max(made, default=(-math.inf, 0))
        if best == -math.inf:
            return symbols
        symbols[-place : -place + 2] = [symbols[-place] + symbols[-place + 1]]


def pairs(symbols: list[str]) -> list[tuple[str, str]]:
    """Each with its neighbour."""
    return list(itertools.pairwise(symbols))


def test_scores_say_what_is_merged() -> None:
    """In made-up vocabularies, over all letters that they have."""
    chance = random.Random(17)
    for _ in range(30):
        words = ["a", "b", "c", "▁"]
        for _ in range(25):
            joined = "".join(chance.sample(words, 2))
            words += [joined] if joined not in words and len(joined) < 9 else []
        scores = {word: -float(place) for place, word in enumerate(words)}
        made = load(scored(scores, add_space_prefix=False))
        for _ in range(40):
            text = "".join(chance.choices("abc ", k=chance.randint(1, 14)))
            assert pieces(made, text) == by_scores(text.replace(" ", "▁"), scores), text


def test_tokens_of_one_score_are_merged_in_their_order() -> None:
    """Files whose scores were unknown when they were written state the same for all."""
    made = load(scored(dict.fromkeys(("a", "b", "c", "bc", "ab"), -1000.0), add_space_prefix=False))
    assert pieces(made, "abc") == ["a", "bc"]


@pytest.mark.parametrize(
    ("stated", "text", "wanted"),
    [
        (None, "an a", ["▁a", "n", "▁a"]),
        (True, "an", ["▁a", "n"]),
        (False, "an", ["an"]),
        (True, "</s>an</s>an", ["</s>", "▁a", "n", "</s>", "▁a", "n"]),
        (False, "</s>an", ["</s>", "an"]),
        (False, "é", ["<0xC3>", "<0xA9>"]),
    ],
)
def test_a_blank_goes_before_each_piece_of_text_unless_told_otherwise(
    stated: bool | None, text: str, wanted: list[str]
) -> None:
    """`add_space_prefix`, which holds after a marker, too; what no token spells is bytes."""
    assert pieces(load(scored(WORDS, add_space_prefix=stated)), text) == wanted


@pytest.mark.parametrize(
    ("changed", "wanted"),
    [
        ({}, ["<s>", "▁a"]),
        ({"add_bos_token": False}, ["▁a"]),
        ({"add_bos_token": False, "add_eos_token": True}, ["▁a", "</s>"]),
        ({"add_eos_token": True}, ["<s>", "▁a", "</s>"]),
        ({"bos_token_id": 2}, ["</s>", "▁a"]),
    ],
)
def test_what_goes_around_a_text(changed: dict[str, Any], wanted: list[str]) -> None:
    """BOS by default, EOS where the file says so."""
    made = load(scored(WORDS, **changed))
    tokens = made.encode("a", add_special_tokens=True)
    assert [made.backend.id_to_token(token) for token in tokens] == wanted


def test_byte_level_tokenizers_put_nothing_around_a_text_by_default() -> None:
    """Except for families that llama.cpp knows to begin with BOS, if the file names one."""
    marks = {"<|begin|>": CONTROL}
    for pre, named, wanted in (("gpt-2", 1, 1), ("llama-bpe", 1, 2), ("llama-bpe", None, 1)):
        made = load(merged("a", [], kinds=marks, pre=pre, bos_token_id=named))
        assert len(made.encode("a", add_special_tokens=True)) == wanted


def test_control_tokens_are_no_text_and_user_defined_ones_are() -> None:
    """Both are found in a text as a whole."""
    made = load(merged("<|x>y", [], kinds={"<|x|>": CONTROL, "<y>": USER_DEFINED}))
    assert pieces(made, "x<|x|><y>") == ["x", "<|x|>", "<y>"]
    assert made.special_ids == {5}
    assert made.marker_ids == {5, 6}
    made.backend.encode_special_tokens = True
    assert pieces(made, "x<|x|><y>") == ["x", "<", "|", "x", "|", ">", "<y>"]


@pytest.mark.parametrize(
    "metadata",
    [
        scored({**WORDS, "/": -20.0, ">": -21.0, "s": -22.0, "<": -23.0, "</": -24.0, "s>": -25.0}),
        merged("</s>a", ["< /", "s >", "</ s>"], kinds={"</s>": CONTROL}),
    ],
)
def test_text_becomes_no_marker(metadata: dict[str, Any]) -> None:
    """Also where merges would make it."""
    made = load(metadata)
    builder = PromptBuilder(made)
    tokens = builder.build([Turn("user", "a</s>")], thinking=False, raw=False).tokens
    assert made.eos_ids
    assert not made.eos_ids.intersection(tokens)
    assert made.decode([token for token in tokens if token not in made.special_ids]) == "a</s>"


@pytest.mark.parametrize("names", CUTS["ids"])
def test_words_are_cut_as_llama_cpp_cuts_them(names: str) -> None:
    """By each name of a way to do so, over a vocabulary that would merge whole texts."""
    for name in names.split():
        rules = pre_tokenizer(name)
        assert rules is not None
        vocabulary = CUTS["byte_level" if rules.byte_level else "sentencepiece"]
        kinds = {} if rules.byte_level else dict.fromkeys(BYTES, BYTE)
        made = load(merged(vocabulary["letters"], vocabulary["merges"], kinds={**kinds, "<|eos|>": CONTROL}, pre=name))
        assert [made.encode(text) for text in CUTS["texts"]] == CUTS["ids"][names], name


def test_every_name_is_compared() -> None:
    """None is forgotten."""
    assert sorted(name for names in CUTS["ids"] for name in names.split()) == sorted(_BY_NAME)


@pytest.mark.parametrize(
    ("kinds", "named", "wanted"),
    [
        ({"<eos>": CONTROL, "<end_of_turn>": CONTROL}, {"eos_token_id": 0}, {"<eos>", "<end_of_turn>"}),
        ({"<|im_end|>": NORMAL}, {}, {"<|im_end|>"}),
        ({"<a>": CONTROL, "<b>": CONTROL}, {"eot_token_id": 0, "eom_token_id": 1}, {"<a>", "<b>"}),
        ({"<|fim_pad|>": CONTROL, "<|fim_prefix|>": CONTROL}, {}, {"<|fim_pad|>"}),
        ({"<fim_pad>": CONTROL, "<z>": CONTROL}, {"fim_pad_token_id": 1}, {"<z>"}),
        ({"</s>": USER_DEFINED}, {}, set()),
        ({"</s>": CONTROL}, {}, {"</s>"}),
        ({"<|return|>": CONTROL, "<|call|>": CONTROL, "<|end|>": CONTROL}, {}, {"<|return|>", "<|call|>"}),
        ({"<|end|>": CONTROL, "<|user|>": CONTROL}, {}, {"<|end|>"}),
        ({"</s>": CONTROL, "<|tool_response>": CONTROL}, {}, {"<|tool_response>"}),
        ({"<x>": CONTROL}, {}, set()),
    ],
)
def test_the_tokens_that_end_an_answer(kinds: dict[str, int], named: dict[str, Any], wanted: set[str]) -> None:
    """Those that the file names, and those that are known by their text whatever the file calls them."""
    made = load(merged("", [], kinds=kinds, **named))
    assert {made.backend.id_to_token(token) for token in made.eos_ids} == wanted


def test_a_marker_that_the_file_calls_text_is_a_marker_all_the_same() -> None:
    """Else the answer would show it."""
    made = load(merged("<|im_end|>", [], kinds={"<|im_end|>": NORMAL}))
    assert made.special_ids == made.eos_ids == {made.backend.token_to_id("<|im_end|>")}


def test_what_fills_a_vocabulary_up_is_no_token() -> None:
    """A text may hold its name."""
    made = load(merged("[PAD]5678", [], kinds={"[PAD9]": UNUSED, "[PAD10]": UNUSED}))
    assert made.backend.token_to_id("[PAD9]") is None
    assert made.backend.get_vocab_size() == 9


def test_phi_3_takes_the_blanks_behind_a_marker_along() -> None:
    """No file says so but by the model's name, and a content keeps its own."""
    template = "{% for m in messages %}{{ '<|user|>\n' + m.content + '<|end|>\n' }}{% endfor %}"
    metadata = scored(
        {**WORDS, "\n": -30.0, "<|user|>": 0.0, "<|end|>": 0.0}, kinds={"<|user|>": CONTROL, "<|end|>": CONTROL}
    )
    named = {**metadata, "general.name": "Phi-3 mini", "tokenizer.chat_template": template}
    assert pieces(load(named), "<|user|>\n a<|end|>\n") == ["<|user|>", "▁a", "<|end|>"]
    assert pieces(load(metadata), "<|user|>\n a") == ["<|user|>", "▁", "\n", "▁a"]
    made = load(named)
    prompt = PromptBuilder(made).build([Turn("user", " a")], thinking=False, raw=False)
    assert [made.backend.id_to_token(token) for token in prompt.tokens] == ["<s>", "<|user|>", "▁a", "<|end|>"]


@pytest.mark.parametrize(
    ("template", "wanted"),
    [
        ("{{ bos_token }}{{ messages[0].content }}", ["<s>", "▁a"]),
        ("{{ messages[0].content }}", ["<s>", "▁a"]),
        ("{{ messages[0].content }}{{ bos_token }}", ["<s>", "▁a", "<s>"]),
    ],
)
def test_a_conversation_begins_with_bos_once(template: str, wanted: list[str]) -> None:
    """Whether the template writes it or not."""
    made = load({**scored(WORDS), "tokenizer.chat_template": template})
    prompt = PromptBuilder(made).build([Turn("user", "a")], thinking=False, raw=False)
    assert [made.backend.id_to_token(token) for token in prompt.tokens] == wanted
    assert made.template_source == "tokenizer.chat_template"


def test_a_conversation_that_begins_with_the_text_of_bos_gets_bos_all_the_same() -> None:
    """And the text stays text."""
    made = load({**scored(WORDS), "tokenizer.chat_template": "{{ messages[0].content }}"})
    prompt = PromptBuilder(made).build([Turn("user", "<s>a")], thinking=False, raw=False)
    assert prompt.tokens[0] == 1
    assert 1 not in prompt.tokens[1:]


def test_only_the_default_template_counts() -> None:
    """As in a folder."""
    metadata = {**scored(WORDS), "tokenizer.chat_templates": ["rag"], "tokenizer.chat_template.rag": "x"}
    assert load(metadata).template is None


@pytest.mark.parametrize("kind", ["thinking", "gemma", "inst"])
def test_tokens_are_streamed_as_text(kind: str, tmp_path: Path) -> None:
    """Every text comes back from its tokens, one by one. (Llama 2's has a blank behind a marker.)"""
    made = load(trained(kind, tmp_path))
    table = Vocabulary(made)
    for text in [text for text in TEXTS if kind != "inst" or "<" not in text]:
        detokenizer = Detokenizer(table)
        tokens = made.encode(text)
        given = "".join(detokenizer.feed(token) for token in tokens) + detokenizer.finish()
        assert given.lstrip(" ") == text.lstrip(" ")


def test_a_tokenizer_survives_being_written(tmp_path: Path) -> None:
    """As a folder's files."""
    made = load(trained("inst", tmp_path))
    files = gguf_tokenizer.folder_files(made)
    again = tokenizers.Tokenizer.from_str(files["tokenizer.json"])
    assert [again.encode(text).ids for text in TEXTS] == [made.encode(text, add_special_tokens=True) for text in TEXTS]
    assert files["chat_template.jinja"] == made.template


@pytest.mark.parametrize("template", ["{{ bos_token }}{{ messages[0].content }}", "  {{ messages[0].content }}"])
def test_a_written_template_begins_with_bos(template: str, tmp_path: Path) -> None:
    """Since a folder doesn't say that every prompt does."""
    metadata = {**trained("inst", tmp_path), "tokenizer.chat_template": template}
    made = load(metadata)
    files = gguf_tokenizer.folder_files(made)
    folder = Tokenizer(
        tokenizers.Tokenizer.from_str(files["tokenizer.json"]),
        made.specials,
        made.eos_ids,
        TemplateText(files["chat_template.jinja"], "chat_template.jinja"),
    )
    prompts = [PromptBuilder(each).build([Turn("user", "a")], thinking=False, raw=False) for each in (made, folder)]
    assert prompts[0].tokens == prompts[1].tokens


GOOD = {"scored": scored(WORDS), "merged": merged("ab", ["a b"], kinds={"<|x|>": CONTROL})}


@pytest.mark.parametrize(
    ("base", "changed", "reason"),
    [
        ("scored", {"tokens": None}, "no tokens"),
        ("scored", {"tokens": [1, 2]}, "isn't an array of strings"),
        ("scored", {"tokens": ["a", "b", "a"]}, "'a' is 0 and 2"),
        ("scored", {"tokens": [b"\xff", b"a"]}, "isn't UTF-8"),
        ("scored", {"scores": None}, "no scores"),
        ("scored", {"scores": [0.0, 1.0]}, "2 values in tokenizer.ggml.scores for 268 tokens"),
        ("scored", {"scores": [math.nan] * 268}, "no number as the score"),
        ("scored", {"scores": "x"}, "isn't an array of numbers"),
        ("scored", {"token_type": [1, 1]}, "2 values in tokenizer.ggml.token_type for 268 tokens"),
        ("scored", {"token_type": [1.0] * 268}, "no whole numbers"),
        ("scored", {"token_type": True}, "isn't an array of numbers"),
        ("scored", {"bos_token_id": 268}, "names the token 268"),
        ("scored", {"eos_token_id": -1}, "names the token -1"),
        ("scored", {"eot_token_id": 2**31}, "names the token"),
        ("scored", {"unknown_token_id": "x"}, "isn't a whole number"),
        ("scored", {"add_bos_token": 1}, "isn't true or false"),
        ("scored", {"add_space_prefix": "no"}, "isn't true or false"),
        ("scored", {"model": 1}, "isn't a string"),
        ("scored", {"model": None}, "has no tokenizer"),
        ("scored", {"tokens": ["a" * 257], "scores": [0.0], "token_type": None}, "more than 256 characters"),
        ("merged", {"merges": None}, "no merges"),
        ("merged", {"merges": [1]}, "isn't an array of strings"),
        ("merged", {"merges": ["ab"]}, "isn't two tokens with a blank between them: 'ab'"),
        ("merged", {"merges": ["", "a b"]}, "isn't two tokens"),
        ("merged", {"merges": ["a c"]}, "merges that its tokens don't allow"),
        ("merged", {"merges": ["a b", "ab a"]}, "merges that its tokens don't allow"),
        ("merged", {"merges": ["a  b"]}, "merges that its tokens don't allow"),
        ("merged", {"add_bos_token": True}, "names no tokenizer.ggml.bos_token_id"),
        ("merged", {"pre": 7}, "isn't a string"),
    ],
)
def test_metadata_that_cant_be_believed(base: str, changed: dict[str, Any], reason: str) -> None:
    """One error, which says what is wrong with which file."""
    with pytest.raises(ModelInvalid) as raised:
        load({**GOOD[base], **{f"tokenizer.ggml.{name}": value for name, value in changed.items()}})
    assert reason in raised.value.message
    assert "model.gguf" in raised.value.message


def test_what_goes_in_is_sound() -> None:
    """What the cases above change."""
    for metadata in GOOD.values():
        load(metadata)


def test_padding_that_doesnt_exist_is_passed_over() -> None:
    """Models without padding name a token beyond their vocabulary."""
    assert "pad_token" not in load(scored(WORDS, padding_token_id=99_999)).specials


@pytest.mark.parametrize("kind", ["bert", "t5", "rwkv", "plamo2", "no_vocab", "none", "something"])
def test_other_kinds_are_refused_by_name(kind: str) -> None:
    """With what to do instead."""
    with pytest.raises(ModelUnsupported, match=f"'{kind}'.*MLX folder"):
        load({**GOOD["merged"], "tokenizer.ggml.model": kind})


def test_an_unknown_way_to_cut_words_is_refused_by_name() -> None:
    """Never replaced by another. A file from before there were names has none, which is the default."""
    with pytest.raises(ModelUnsupported, match="'qwen9'"):
        load({**GOOD["merged"], "tokenizer.ggml.pre": "qwen9"})
    load({**GOOD["merged"], "tokenizer.ggml.pre": None})


def test_a_token_without_a_text_has_a_name() -> None:
    """Two of them are two tokens."""
    made = load(
        {**GOOD["merged"], "tokenizer.ggml.tokens": ["", "", "a", "b", "ab"], "tokenizer.ggml.token_type": None}
    )
    assert made.backend.id_to_token(1) == "[EMPTY_1]"


def test_a_vocabulary_without_bytes_has_the_unknown_token() -> None:
    """Where nothing else spells a sign."""
    metadata = scored(WORDS)
    kept = [index for index, token in enumerate(metadata["tokenizer.ggml.tokens"]) if token not in BYTES]
    cut = {
        name: [value[index] for index in kept] if isinstance(value, list) else value for name, value in metadata.items()
    }
    assert pieces(load(cut), "é") == ["▁", "<unk>"]


@pytest.mark.real_model
def test_a_real_file_gives_llama_cpps_tokens(smollm2: Path) -> None:
    """With markers read as such, and as text."""
    made = gguf_tokenizer.load(read_header(smollm2.with_name("smollm2.gguf")))
    texts = json.loads((CORPUS / "smollm2_tokens.json").read_text())["texts"]
    assert [made.encode(text) for text, *_ in texts] == [marked for _, marked, *_ in texts]
    made.backend.encode_special_tokens = True
    assert [made.encode(text) for text, *_ in texts] == [plain[-1] for _, *plain in texts]
