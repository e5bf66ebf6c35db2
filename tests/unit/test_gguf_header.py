"""What is read of a GGUF file's header, and what is refused, in memory and on the disk."""

from __future__ import annotations

import random
import struct
from array import array
from contextlib import suppress
from pathlib import Path

import pytest

from mlx_sidecar.errors import ModelInvalid, ModelNotFound, ModelUnsupported
from mlx_sidecar.models.gguf import files
from mlx_sidecar.models.gguf.cursor import MOST_HEADER_BYTES, MoreBytesNeeded
from mlx_sidecar.models.gguf.header import GGUFHeader, StringArray, parse_header, read_header
from mlx_sidecar.models.gguf.types import TENSOR_TYPES
from tests.support.gguf_files import ARRAY, F32, Q8_0, STRING, UINT64, gguf, key, string, tensor, value

_KEYS = (
    key("general.architecture", "llama"),
    key("general.file_type", 15),
    key("a.float", 0.5),
    key("a.flag", True),
    key("a.numbers", [1, 2, 3]),
    key("a.strings", ["ä", "", "c"]),
)
_TENSORS = (tensor("a", [4, 2]), tensor("b", [64], 32, Q8_0))
_WHOLE = gguf(_KEYS, _TENSORS, bytes(32 + 68))


def _parse(raw: bytes) -> GGUFHeader:
    return parse_header(raw, "somewhere/m.gguf", len(raw))


def test_what_a_header_says() -> None:
    header = _parse(_WHOLE)
    assert header.architecture == "llama"
    assert header.file_type == "Q4_K_M"
    assert header.number("a.float") == 0.5
    assert header.flag("a.flag") is True
    assert header.numbers("a.numbers") == array("I", [1, 2, 3])
    strings = header.strings("a.strings")
    assert strings is not None
    assert (len(strings), list(strings), strings.texts()) == (3, ["ä".encode(), b"", b"c"], ["ä", "", "c"])
    assert header.text("not there") is None
    first, second = header.tensors
    assert (first.name, first.shape, first.type.name, first.offset) == ("a", (2, 4), "F32", header.data_start)
    assert (second.shape, second.size_bytes, second.offset) == ((64,), 68, header.data_start + 32)


def test_version_2_and_an_alignment_of_its_own() -> None:
    raw = gguf([key("general.alignment", 64)], [tensor("a", [2], 64)], bytes(72), version=2, aligned=64)
    header = _parse(raw)
    assert (header.version, header.data_start % 64) == (2, 0)


@pytest.mark.parametrize("ask", ["text", "flag", "strings", "numbers"])
def test_a_value_of_another_type(ask: str) -> None:
    with pytest.raises(ModelInvalid, match=r"m\.gguf has a 'a\.float' that isn't"):
        getattr(_parse(_WHOLE), ask)("a.float")


def test_numbers_are_no_flags_and_floats_no_integers() -> None:
    header = _parse(_WHOLE)
    with pytest.raises(ModelInvalid, match="a whole number"):
        header.integer("a.flag")
    with pytest.raises(ModelInvalid, match="a whole number"):
        header.integer("a.float")
    with pytest.raises(ModelInvalid, match="a number"):
        header.number("a.flag")


def _count(tensors: int, keys: int, rest: bytes = b"") -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, keys) + rest


def _array(kind: int, count: int, rest: bytes = b"") -> bytes:
    return _count(0, 1, string("k") + struct.pack("<IIQ", ARRAY, kind, count) + rest)


_DAMAGED = {
    "no GGUF": (b"PK\3\4" + bytes(60), "doesn't begin with 'GGUF'"),
    "nothing in it": (b"", "reaches to byte 4 of a file of 0"),
    "a billion keys": (_count(0, 2**30), "counts 1073741824 keys"),
    "tensors without end": (_count(2**63, 0), "counts 9223372036854775808 tensors"),
    "a key without end": (_count(0, 1, struct.pack("<Q", 2**63)), "9223372036854775808 bytes long"),
    "a string without end": (
        _count(0, 1, string("k") + struct.pack("<IQ", STRING, 2**63 + 5)),
        f"{MOST_HEADER_BYTES} are read at most",
    ),
    "an array of 2^40 numbers": (_array(UINT64, 2**40), "counts 1099511627776 numbers in 'k'"),
    "an array of 2^40 strings": (_array(STRING, 2**40), "counts 1099511627776 strings in 'k'"),
    "an array of a string without end": (
        _array(STRING, 2, struct.pack("<Q", 2**64 - 8) + bytes(8)),
        "are read at most",
    ),
    "an array of arrays": (_array(ARRAY, 1), "array of arrays"),
    "an unknown value": (_count(0, 1, string("k") + struct.pack("<I", 13)), "unknown type 13"),
    "a key that isn't text": (_count(0, 1, string(b"\xff") + value(1)), "isn't UTF-8"),
    "a key twice": (gguf([key("k", 1), key("k", 1)]), "the key 'k' stands in it twice"),
    "a tensor twice": (gguf(_KEYS, [tensor("a", [8]), tensor("a", [8], 32)], bytes(64)), "two tensors have one name"),
    "no dimensions": (gguf(_KEYS, [tensor("a", [])], bytes(4)), "has 0 dimensions"),
    "five dimensions": (gguf(_KEYS, [tensor("a", [1] * 5)], bytes(4)), "has 5 dimensions"),
    "a dimension of nothing": (gguf(_KEYS, [tensor("a", [4, 0])]), "impossible shape"),
    "a shape that overflows": (gguf(_KEYS, [tensor("a", [2**33, 2**33])]), "impossible shape"),
    "half a block": (gguf(_KEYS, [tensor("a", [48], kind=Q8_0)], bytes(99)), "rows of 48 values in blocks of 32"),
    "no alignment": (gguf([key("general.alignment", 0)]), "no power of two"),
    "an odd alignment": (gguf([key("general.alignment", 48)]), "no power of two"),
    "an odd offset": (gguf(_KEYS, [tensor("a", [8], 16)], bytes(64)), "no multiple of 32"),
    "tensors in one place": (
        gguf(_KEYS, [tensor("a", [16]), tensor("b", [16], 32)], bytes(128)),
        "'b' begins at 32, and 'a' ends at 64",
    ),
}


@pytest.mark.parametrize(("raw", "reason"), _DAMAGED.values(), ids=_DAMAGED.keys())
def test_a_header_that_cannot_be(raw: bytes, reason: str) -> None:
    with pytest.raises(ModelInvalid) as refused:
        _parse(raw)
    assert reason in refused.value.message
    assert refused.value.message.startswith("somewhere/m.gguf ")
    assert refused.value.data["file"] == "m.gguf"


_FOREIGN = {
    "version 1": (gguf(version=1), "version 1 of GGUF"),
    "a version to come": (gguf(version=4), "version 4 of GGUF"),
    "big-endian": (b"GGUF" + struct.pack(">I", 3) + bytes(16), "big-endian"),
    "a type to come": (gguf(_KEYS, [tensor("a", [8], kind=99)], bytes(32)), "'a' is of type 99"),
    "a type given up": (gguf(_KEYS, [tensor("a", [8], kind=31)], bytes(32)), "Q4_0_4_4, which llama.cpp has given up"),
}


@pytest.mark.parametrize(("raw", "reason"), _FOREIGN.values(), ids=_FOREIGN.keys())
def test_a_header_that_nobody_here_reads(raw: bytes, reason: str) -> None:
    with pytest.raises(ModelUnsupported) as refused:
        _parse(raw)
    assert reason in refused.value.message
    assert refused.value.data["file"] == "m.gguf"


def test_a_file_that_is_cut_off_says_how_much_is_missing() -> None:
    with pytest.raises(ModelInvalid) as refused:
        _parse(_WHOLE[:-1])
    assert refused.value.data == {"file": "m.gguf", "size_bytes": len(_WHOLE) - 1, "needed_bytes": len(_WHOLE)}


def test_every_beginning_asks_for_more_until_the_header_is_whole() -> None:
    whole = _parse(_WHOLE)
    header_bytes = len(gguf(_KEYS, _TENSORS, aligned=1))
    for have in range(header_bytes):
        with pytest.raises(MoreBytesNeeded) as more:
            parse_header(_WHOLE[:have], "m.gguf", len(_WHOLE))
        assert have < more.value.at_least <= header_bytes
    assert parse_header(_WHOLE[:header_bytes], "m.gguf", None).tensors == whole.tensors


def test_any_byte_may_be_wrong() -> None:
    chance = random.Random(17)
    for _ in range(2000):
        raw = bytearray(_WHOLE)
        for _ in range(chance.randint(1, 4)):
            raw[chance.randrange(len(raw))] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        # Anything else that is raised fails the test.
        with suppress(ModelInvalid, ModelUnsupported):
            header = _parse(bytes(raw[: chance.choice((len(raw), chance.randrange(len(raw))))]))
            assert all(t.offset + t.size_bytes <= len(raw) for t in header.tensors)


def test_strings_that_are_not_text() -> None:
    header = _parse(gguf([key("k", ["a", b"\xff"]), key("t", b"\xff")]))
    strings = header.strings("k")
    assert isinstance(strings, StringArray)
    assert list(strings) == [b"a", b"\xff"]
    with pytest.raises(ModelInvalid, match=r"m\.gguf: 'k' holds a string that isn't UTF-8"):
        strings.texts()
    with pytest.raises(ModelInvalid, match="has a 't' that isn't UTF-8"):
        header.text("t")


def test_a_header_longer_than_a_piece_that_is_read(tmp_path: Path) -> None:
    file = tmp_path / "m.gguf"
    file.write_bytes(gguf([key("k", ["x" * 1000] * 3000), key("general.architecture", "llama")]))
    header = read_header(file)
    assert header.architecture == "llama"
    assert len(header.strings("k") or ()) == 3000


def test_types_take_what_the_gguf_package_says() -> None:
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

    for number, kind in TENSOR_TYPES.items():
        theirs = GGMLQuantizationType(number)
        # The package counts Q8_1's sums as 32 bits each; llama.cpp has written 16 since 2023.
        sizes = (32, 36) if theirs.name == "Q8_1" else GGML_QUANT_SIZES[theirs]
        assert (kind.name, kind.block_values, kind.block_bytes) == (theirs.name, *sizes)


def _write_set(folder: Path, tensors: int = 2, second: int = 1) -> Path:
    split = [key("split.count", 2), key("split.tensors.count", tensors)]
    (folder / "m-00001-of-00002.gguf").write_bytes(
        gguf([*_KEYS, *split, key("split.no", 0)], [tensor("a", [8])], bytes(32))
    )
    (folder / "m-00002-of-00002.gguf").write_bytes(
        gguf([*split, key("split.no", second)], [tensor("b", [8])], bytes(32))
    )
    return folder / "m-00001-of-00002.gguf"


def test_a_set_of_files(tmp_path: Path) -> None:
    first = _write_set(tmp_path)
    model = files.check(first)
    assert {name: (file.name, info.type.name) for name, (file, info) in model.places.items()} == {
        "a": ("m-00001-of-00002.gguf", "F32"),
        "b": ("m-00002-of-00002.gguf", "F32"),
    }
    assert (model.header.architecture, model.weight_bytes) == ("llama", 64)


def test_the_second_of_a_set_names_the_first(tmp_path: Path) -> None:
    second = _write_set(tmp_path).with_name("m-00002-of-00002.gguf")
    with pytest.raises(ModelInvalid, match=r"give the first, m-00001-of-00002\.gguf"):
        files.check(second)


def test_a_part_that_is_missing(tmp_path: Path) -> None:
    first = _write_set(tmp_path)
    first.with_name("m-00002-of-00002.gguf").unlink()
    with pytest.raises(ModelInvalid, match=r"m-00002-of-00002\.gguf is missing, one of 2 parts") as refused:
        files.check(first)
    assert refused.value.data["file"] == "m-00002-of-00002.gguf"


def test_a_set_that_does_not_belong_together(tmp_path: Path) -> None:
    with pytest.raises(ModelInvalid, match="calls itself part 0 of 2, counted from 0, and lies as part 1"):
        files.check(_write_set(tmp_path, second=0))
    with pytest.raises(ModelInvalid, match="counts 3 tensors in all parts, and they hold 2"):
        files.check(_write_set(tmp_path, tensors=3))
    first = _write_set(tmp_path)
    first.rename(tmp_path / "alone.gguf")
    with pytest.raises(ModelInvalid, match="calls itself part 0 of 2"):
        files.check(tmp_path / "alone.gguf")


def test_one_tensor_in_two_parts(tmp_path: Path) -> None:
    first = _write_set(tmp_path)
    second = first.with_name("m-00002-of-00002.gguf")
    second.write_bytes(second.read_bytes().replace(string("b"), string("a")))
    with pytest.raises(ModelInvalid, match=r"holds 'a', which stands in m-00001-of-00002\.gguf already"):
        files.check(first)


def test_what_is_no_model_file(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="does not exist"):
        files.check(tmp_path / "none.gguf")
    with pytest.raises(ModelNotFound, match="is no file"):
        files.check(tmp_path)
    (tmp_path / "empty.gguf").write_bytes(gguf(_KEYS))
    with pytest.raises(ModelInvalid, match="holds no tensors"):
        files.check(tmp_path / "empty.gguf")


def test_type_numbers_are_those_of_the_helpers() -> None:
    assert (TENSOR_TYPES[F32].name, TENSOR_TYPES[Q8_0].name) == ("F32", "Q8_0")
