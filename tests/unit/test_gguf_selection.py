"""Which of a repository's GGUF files a download fetches: one model, and which one is never guessed."""

from __future__ import annotations

import pytest

from mlx_sidecar.errors import InvalidParams
from mlx_sidecar.hub.selection import gguf_choices, select

SPLIT = ("big-00001-of-00003.gguf", "big-00002-of-00003.gguf", "big-00003-of-00003.gguf")
QUANTIZED = ("tiny-Q8_0.gguf", "tiny-Q4_K_M.gguf", "tiny-F16.gguf", *SPLIT)


def listed(*names: str, size: object = 1_000_000) -> list[dict[str, object]]:
    """Files as the hub lists them."""
    return [{"rfilename": name, "size": size, "blobId": "a" * 40} for name in names]


def names(entries: list[dict[str, object]]) -> list[object]:
    """Only those."""
    return [entry["rfilename"] for entry in entries]


def refused(*repository: str, gguf_file: str | None = None) -> InvalidParams:
    """What a request without files is answered with."""
    with pytest.raises(InvalidParams) as error:
        select("o/n", listed(*repository), None, gguf_file)
    return error.value


def test_a_repository_of_quantizations_asks_which_one() -> None:
    """All of them stand in the data with the bytes of all their parts, a vision model's projector doesn't."""
    error = refused("config.json", "mmproj-F16.gguf", *QUANTIZED)
    assert "4 GGUF models; choose one with gguf_file: " in error.message
    assert "tiny-Q4_K_M.gguf (1.0 MB)" in error.message
    choices = [(each["gguf_file"], each["size_bytes"]) for each in error.data["gguf_files"]]
    assert sorted(choices) == [
        ("big-00001-of-00003.gguf", 3_000_000),
        ("tiny-F16.gguf", 1_000_000),
        ("tiny-Q4_K_M.gguf", 1_000_000),
        ("tiny-Q8_0.gguf", 1_000_000),
    ]
    assert choices[-1][0] == "big-00001-of-00003.gguf"


def test_the_file_that_is_named_is_fetched_and_what_lies_beside_it() -> None:
    """Nothing of the others, and no tokenizer: that is in the file."""
    there = listed("config.json", "sub/config.json", "tokenizer.json", "README.md", *QUANTIZED, "sub/x.gguf")
    assert names(select("o/n", there, None, "tiny-Q4_K_M.gguf")) == ["tiny-Q4_K_M.gguf", "config.json"]
    assert names(select("o/n", there, None, "sub/x.gguf")) == ["sub/x.gguf", "sub/config.json"]


def test_a_split_model_is_fetched_with_all_its_parts() -> None:
    """By the name of its first; by another's it is refused, as by one whose set isn't whole."""
    assert names(select("o/n", listed(*QUANTIZED), None, SPLIT[0])) == list(SPLIT)
    assert f"give the first, '{SPLIT[0]}'" in refused(*QUANTIZED, gguf_file=SPLIT[1]).message
    assert f"lacks '{SPLIT[2]}'" in refused(*SPLIT[:2], gguf_file=SPLIT[0]).message


def test_the_only_one_needs_no_choice() -> None:
    """One file, or one set."""
    assert names(select("o/n", listed("README.md", "tiny-Q4_K_M.gguf", "mmproj-F16.gguf"), None, None)) == [
        "tiny-Q4_K_M.gguf"
    ]
    assert names(select("o/n", listed(*SPLIT), None, None)) == list(SPLIT)


def test_safetensors_go_before_gguf_unless_that_is_named() -> None:
    """As ever."""
    there = listed("config.json", "model.safetensors", *QUANTIZED)
    assert names(select("o/n", there, None, None)) == ["config.json", "model.safetensors"]
    assert names(select("o/n", there, None, "tiny-F16.gguf")) == ["tiny-F16.gguf", "config.json"]


def test_patterns_choose_gguf_files_too() -> None:
    """Just what they name."""
    assert names(select("o/n", listed("config.json", *QUANTIZED), ["*Q4_K_M*"], None)) == ["tiny-Q4_K_M.gguf"]


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("q4_k_m", "tiny-Q4_K_M.gguf"),
        ("Tiny-Q8_0.gguf", "tiny-Q8_0.gguf"),
        ("tiny-Q4_KM.gguf", "tiny-Q4_K_M.gguf"),
        ("big.gguf", SPLIT[0]),
    ],
)
def test_a_file_that_is_not_there_is_told_with_the_one_that_was_meant(asked: str, meant: str) -> None:
    """And with all there are."""
    error = refused(*QUANTIZED, gguf_file=asked)
    assert f"has no '{asked}'; did you mean '{meant}'?" in error.message
    assert len(error.data["gguf_files"]) == 4


@pytest.mark.parametrize("asked", ["config.json", "../../etc/passwd", "x" * 1024, "\n"])
def test_what_is_no_gguf_file_of_the_repository_is_never_fetched(asked: str) -> None:
    """Also where it is a file."""
    assert "has no" in refused("config.json", *QUANTIZED, gguf_file=asked).message


def test_without_any_gguf_file_the_field_is_what_is_wrong() -> None:
    """It isn't a question of spelling."""
    assert "holds no GGUF file; leave gguf_file out" in refused("config.json", gguf_file="x.gguf").message


def test_a_list_without_end_becomes_few_words() -> None:
    """Also of sets that claim to have any number of parts, with sizes that are none."""
    many = [f"{'x' * 5000}{number}-00001-of-01000.gguf" for number in range(3000)]
    error = refused(*many)
    assert len(error.message) < 2000
    assert len(str(error.data)) < 50_000
    assert len(str(refused(*many, gguf_file="y.gguf").data)) < 50_000
    assert gguf_choices(listed("a.gguf", size="3"))[0].size_bytes == 0
