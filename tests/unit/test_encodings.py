"""Text that isn't UTF-8: read where it says what it is, and told as what it is where only UTF-8 will do."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_sidecar.errors import HubError, ParseError
from mlx_sidecar.escapes import escaped, without_surrogates
from mlx_sidecar.hub.messages import DownloadRequest, Failed, decode_message, decode_request, encode
from mlx_sidecar.library.requests import Requests, RequestsInvalid
from mlx_sidecar.library.results import Results
from mlx_sidecar.library.text import NotText, decode
from mlx_sidecar.protocol.codec import Accepted, Address, Refused, encode_error
from mlx_sidecar.protocol.codec import decode as decode_line
from mlx_sidecar.protocol.framing import LineSplitter

MARKED = ["utf-8-sig", "utf-16", "utf-32"]
UNMARKED = ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"]
TEXTS = [
    "The keeper made one mistake.\r\n",
    *("Größe", "a", "Ābols, ēst un dzert", "Tāmaki Makaurau, Āpiti", "“Quoted” — and so on …"),
    *("Дом", "Дом стоит на холме, у реки.", "Το σπίτι", "בית", "البيت على التل"),
    *(
        "家は丘の上にある。川の近くだ。",
        "房子在山上，靠近河流。\n第二天下雨了。",
        "집은 언덕 위에 있다.",
        "漢字だけ並べた八字以上",
    ),
]
TEXT = "The keeper made one mistake.\r\n"


def marked_big_endian(text: str, width: int) -> bytes:
    """With the other order of bytes than Python writes here."""
    return f"\ufeff{text}".encode(f"utf-{width}-be")


@pytest.mark.parametrize("encoding", [*MARKED, *UNMARKED, "utf-8"])
@pytest.mark.parametrize("text", TEXTS)
def test_a_document_is_read_as_what_it_is_written_in(text: str, encoding: str) -> None:
    """By its mark, and without one by its bytes; no mark stands in the text."""
    assert decode(text.encode(encoding)) == text


def test_a_mark_says_what_nothing_else_shows() -> None:
    """Text in which no byte is a NUL."""
    for encoding in MARKED:
        assert decode("家は丘の上".encode(encoding)) == "家は丘の上"
    for width in (16, 32):
        assert decode(marked_big_endian("家は", width)) == "家は"


@pytest.mark.parametrize(
    "data",
    [
        b"some text, and one NUL\0 in it.",
        b"one NUL at an odd place\0 here..",
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0",
        b"\x01\0\x02\0\x03\0",
        b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0>\0",
        b"\0\0\0\0",
        b"\xff\xfea",
        b"\xff\xfe\0\xd8",
        b"\xff\xfe\0\0\xff\xff\xff\xff",
        b"\0\xd8\0\0\0\xd8\0\0",
        bytes(range(256)) * 8,
        bytes((7 * n * n + n // 3) % 256 for n in range(4096)),
        "Größe und Maß".encode("latin-1"),
        "“quoted”, 5 €".encode("cp1252"),
        b"\xffGIF",
    ],
)
def test_what_is_no_text_is_not_taken_for_any(data: bytes) -> None:
    """Nothing is replaced or cut, and the sentence says what to do."""
    with pytest.raises(NotText, match="UTF-8"):
        decode(data)


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters=[*map(chr, range(9)), "\ufeff"])))
def test_utf_8_is_never_taken_for_anything_else(text: str) -> None:
    """Whatever it says; no text has control characters at every other place."""
    assert decode(text.encode()) == text


# A file of requests

REQUESTS = '{"command":"generate","prompt":"Größe"}\r\n\r\n{"command":"generate","prompt":"家"}\r\n'


@pytest.mark.parametrize("encoding", [*MARKED, *UNMARKED, "utf-8"])
def test_a_file_of_requests_is_read_as_what_it_is_written_in(tmp_path: Path, encoding: str) -> None:
    """As PowerShell's `>` writes it, too; and a line is the same line in all of them."""
    (tmp_path / "requests").write_bytes(REQUESTS.encode(encoding))
    (tmp_path / "plain").write_bytes(REQUESTS.encode())
    results = Results(tmp_path / "results", "job")
    wanted = Requests(tmp_path / "requests").to_do(results)
    assert wanted == Requests(tmp_path / "plain").to_do(results)
    assert [item.subject.line for item in Requests(tmp_path / "requests").items(wanted)] == [1, 3]
    results.close()


def test_half_of_a_pair_is_the_fault_of_its_line(tmp_path: Path) -> None:
    """And a file that ends in the middle of a character is refused before anything is asked."""
    lines = REQUESTS.replace("Größe", "\ud800")
    (tmp_path / "requests").write_bytes(b"\xff\xfe" + lines.encode("utf-16-le", "surrogatepass"))
    requests, results = Requests(tmp_path / "requests"), Results(tmp_path / "results", "job")
    first, second = requests.items(requests.to_do(results))
    assert isinstance(first.ask, ParseError)
    assert not isinstance(second.ask, Exception)
    with (tmp_path / "requests").open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(RequestsInvalid, match=r"line 4 .* UTF-8"):
        requests.to_do(results)
    results.close()


# Lines of the protocol


def answers(stream: bytes) -> list[Accepted | Refused]:
    """What becomes of the lines of stdin."""
    splitter = LineSplitter(1000)
    return [decode_line(line) for line in [*splitter.feed(stream), *splitter.close()]]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", [True, False], ids=["ended", "open"])
@pytest.mark.parametrize(
    "encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be", "marked BE"]
)
def test_a_line_in_another_encoding_is_told_as_such(encoding: str, end: str, last: bool) -> None:
    """One answer for each line, none for the other half of an LF, and what to do."""
    text = end.join(['{"command":"status"}', "", '{"command":"status","id":1}', ""])
    text = text if last else text.removesuffix(end)
    found = answers(marked_big_endian(text, 16) if encoding == "marked BE" else text.encode(encoding))
    assert len(found) == 2
    for refused in found:
        assert isinstance(refused, Refused)
        assert refused.error.code == "parse_error"
        assert ("UTF-32" if "32" in encoding else "UTF-16") in refused.error.message
        assert "PowerShell" in refused.error.message


def test_a_mark_in_the_middle_is_told_as_such() -> None:
    """Two files, one after the other: only the first may begin with one."""
    first, second = answers('\ufeff{"command":"status"}\n\ufeff{"command":"status"}\n'.encode())
    assert isinstance(first, Accepted)
    assert isinstance(second, Refused)
    assert "byte order mark" in second.error.message


@pytest.mark.parametrize("line", [b"\0", b"\0\0\0", b"{}\0", b'{"command":"status"}\0', b"\0{}"])
def test_a_nul_by_itself_is_no_encoding(line: bytes) -> None:
    """One answer each, also behind lines that can be read."""
    for stream in (line + b"\n", b'{"command":"status"}\n' + line):
        refused = answers(stream)[-1]
        assert isinstance(refused, Refused)
        assert "UTF-" not in refused.error.message


# Names


@given(st.lists(st.binary(min_size=1, max_size=8), unique=True, max_size=20))
def test_every_name_is_written_in_its_own_way(names: list[bytes]) -> None:
    """And every reader of JSON takes it."""
    written = [escaped(os.fsdecode(name)) for name in names]
    assert len(set(written)) == len(names)
    assert orjson.loads(orjson.dumps(written)) == written


def test_a_name_on_the_wire_can_be_told_from_others() -> None:
    """Where a text holds no such byte it is as it was, backslashes too."""
    line = encode_error(Address(), HubError("'/models/\udcff' and '/models/\udcfe'", {"path": ["\udcff"]}))
    found = msgspec.json.decode(line)
    assert (found["error"], found["data"]) == (r"'/models/\xff' and '/models/\xfe'", {"path": [r"\xff"]})
    assert without_surrogates("a\\b") == "a\\b"
    assert without_surrogates("\ud800") == "\N{REPLACEMENT CHARACTER}"


def test_a_download_may_go_to_a_folder_with_any_name() -> None:
    """The worker and its child tell each other what it is called to the byte."""
    order = DownloadRequest(repo_id="owner/name", destination="/models/\udcff")
    assert decode_request(encode(order)) == order
    failed = Failed(code="hub_error", message="'/models/\udcff' is full")
    assert decode_message(encode(failed)) == failed
