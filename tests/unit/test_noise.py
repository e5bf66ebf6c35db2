"""Which documents say nothing and which do, however odd they look: what is passed over, and what never is."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import random
import uuid

import pytest

from benchmarks.quality import sets
from tests.unit.test_condense import TEXT, condensed

DRAWS = random.Random(3)
BYTES = DRAWS.randbytes(2400)
AFTER = "The dam opens in May."


def in_lines(text: str, chars: int) -> str:
    """Cut as encoders cut."""
    return "\n".join(text[at : at + chars] for at in range(0, len(text), chars))


def rows(count: int, row: str) -> str:
    """A row of a table or of a log, with other numbers each time; `w` is where a level stands."""
    levels = ["INFO", "WARN", "ERROR", "DEBUG"]
    return "\n".join(
        row.format(n=n, x=DRAWS.random() * 1000, y=DRAWS.random() * 10, d=n % 28 + 1, s=n % 60, w=levels[n % 4])
        for n in range(count)
    )


def an_id() -> str:
    """Another one each time."""
    return str(uuid.UUID(int=DRAWS.getrandbits(128)))


BASE64, OF_TEXT = base64.b64encode(BYTES).decode(), base64.b64encode(TEXT.encode() * 20).decode()
UUENCODED = "".join(binascii.b2a_uu(BYTES[at : at + 45]).decode() for at in range(0, len(BYTES), 45))
LINKS = [
    f"https://example.com/d/{base64.urlsafe_b64encode(BYTES[at : at + 30]).decode()}?sig={BYTES[at : at + 20].hex()}"
    for at in range(0, 1200, 30)
]
JWTS = [".".join(base64.urlsafe_b64encode(BYTES[at : at + size]).decode() for size in (30, 50, 40)) for at in range(8)]

NOISE = {
    "line breaks of HTML": "<br>\n" * 120,
    "markup around nothing": "<br>\n<br />\n<p></p> &nbsp;" * 40,
    "an empty table of HTML": "<tr>\n  <td></td> <td>&nbsp;</td>\n</tr>\n" * 30,
    "empty cells with a class": '<td class="c"></td>\n' * 60,
    "UUIDs": "\n".join(an_id() for _ in range(60)),
    "UUIDs in JSON": json.dumps([{"id": an_id(), "parent": an_id()} for _ in range(60)], indent=1),
    "MD5": "\n".join(hashlib.md5(b"%d" % n, usedforsecurity=False).hexdigest() for n in range(50)),
    "SHA-256 in a row": ", ".join(hashlib.sha256(b"%d" % n).hexdigest() for n in range(30)),
    **{f"base64 in lines of {chars}": in_lines(BASE64, chars) for chars in (16, 20, 24, 32, 40, 64)},
    **{f"base64 of a text in lines of {chars}": in_lines(OF_TEXT, chars) for chars in (16, 24, 32, 64)},
    "ascii85": base64.a85encode(BYTES, wrapcol=76, adobe=True).decode(),
    "base85": base64.b85encode(BYTES).decode(),
    "base85 in lines": in_lines(base64.b85encode(BYTES).decode(), 60),
    "uuencode": f"begin 644 data.bin\n{UUENCODED}`\nend\n",
    "links with tokens": "\n".join(LINKS),
    "tokens of three parts": "\n".join(JWTS),
    "numbers with units": rows(80, "{x:.2f} kg\t{n} cm\t{y:.1f} %"),
    "units at the numbers": rows(120, "{x:.1f}kg\t{n}cm\t{y:.2f}kWh"),
    "money": rows(60, "{x:.2f} €   EUR {x:.2f}   ${n}.00"),
    "a log": rows(60, "2025-03-{d:02} 12:{s:02}:01,{n:03} {w} {n} 0x{n:x}"),
    "a log of ISO times": rows(60, "[2025-03-{d:02}T12:{s:02}:01Z] [{w}] {n}"),
    "numbers": rows(90, "{x:.4f}\t{y:.4f}\t{n}\t{x:.2e}\t-{y:.3f}"),
    "Morse": " ".join("".join(DRAWS.choices(".-", k=DRAWS.randint(1, 4))) for _ in range(500)),
}


@pytest.mark.parametrize("name", NOISE)
def test_it_is_passed_over_and_told(name: str) -> None:
    """Most of it; the text around it stays to the character."""
    noise = NOISE[name]
    found = condensed(f"{TEXT}\n\n{noise}\n\n{AFTER}")
    assert found.text.startswith(TEXT)
    assert found.text.endswith(AFTER)
    assert sum(found.passed_over.values()) >= 0.6 * len(noise)
    assert len(found.text) - len(TEXT) - len(AFTER) <= max(450, 0.4 * len(noise))


FIRST, LAST = (
    ["Ada", "Björn", "Chen", "Dmitri", "Élodie", "Fatima", "Gül", "Hana"],
    ["Okafor", "Świątek", "Tanaka", "O'Neil", "Lindqvist", "Vu"],
)
STREETS, TOWNS = ["Elm", "Quay", "Mill", "Station", "Church", "High"], ["Leeds", "Porto", "Gdańsk", "Uppsala", "Nantes"]
FORMULAS = [
    "C6H12O6",
    "H2O",
    "C2H6O",
    "C8H10N4O2",
    "K2O",
    "C10H8",
    "H3PO4",
    "C3H8",
    "N2O5",
    "Al2O3",
    "C55H72O5N4",
    "B2H6",
]
MOVES = ["e2e4", "e7e5", "g1f3", "b8c6", "f1b5", "a7a6", "b5a4", "g8f6", "e1g1", "f8e7", "c2c3", "d7d6", "h7h8q"]
GAME = "1. e4 e5 2. Nf3 Nc6 3. Bb5 a6 4. Ba4 Nf6 5. O-O Be7 6. Re1 b5 7. Bb3 d6 8. c3 O-O 9. h3 Nb8 10. d4 Nbd7 "


def names(count: int) -> list[str]:
    """Of people who aren't there."""
    return [f"{DRAWS.choice(FIRST)} {DRAWS.choice(LAST)}" for _ in range(count)]


def digits(count: int) -> str:
    """Of a telephone number."""
    return "".join(DRAWS.choices("0123456789", k=count))


RUSSIAN = "Весной садовник подрезает розы. Потом он поливает их каждый вечер. Осенью он укрывает их листьями. "
SPOKEN = {
    "letters as entities": "".join(f"&#{ord(sign)};" if ord(sign) > 127 else sign for sign in RUSSIAN * 3),
    "letters as hexadecimal entities": "".join(f"&#x{ord(sign):x};" for sign in "春天园丁修剪玫瑰" * 30),
    "letters as JSON writes them": "\n".join(json.dumps({"id": n, "text": RUSSIAN}) for n in range(4)),
    "a word, over and over": "la la la " * 400,
    "few words": "\n".join(" ".join(DRAWS.choices(["la", "la,", "La", "na", "hey"], k=8)) for _ in range(150)),
    "a sentence, over and over": "The gardener prunes the roses early in the spring. " * 120,
    "a poem with a refrain": "".join(
        f"The {thing} goes down to the harbour tonight,\nthe {thing} goes down to the sea.\n\n"
        "O bring back the boats, bring the boats,\nbring the boats and the men back to me.\n\n"
        for thing in ["wind", "moon", "lamp", "song", "rain", "tide", "ship", "bell", "gull", "rope"]
    ),
    "lyrics": ("Na na na na, na na na na, hey hey, goodbye\n" * 8 + "And when she's gone the radio plays\n\n") * 6,
    "names": "\n".join(names(120)),
    "a phone book": "\n".join(f"{name}  +{digits(2)} {digits(3)} {digits(7)}" for name in names(80)),
    "addresses": "\n".join(
        f"{name}\n{digits(2)} {DRAWS.choice(STREETS)} Road\n{digits(5)} {DRAWS.choice(TOWNS)}\n" for name in names(40)
    ),
    "accounts": "\n".join(f"{name}; DE{digits(20)}; {digits(5)}" for name in names(60)),
    "a table with words": "\n".join(f"{DRAWS.choice(TOWNS)}\t{digits(4)}\t{digits(3)},5 kg\tyes" for _ in range(60)),
    "a table of answers": "\n".join(f"{name}\tyes\tno\tyes\tyes" for name in names(50)),
    "a game of chess": GAME * 4,
    "moves of chess": " ".join(DRAWS.choices(MOVES, k=400)),
    "formulas": " ".join(DRAWS.choices(FORMULAS, k=300)),
    "formulas with their weights": "\n".join(f"{DRAWS.choice(FORMULAS)}\t{digits(3)}.{digits(2)}" for _ in range(150)),
    "InChI": "\n".join(
        f"{name} InChI=1S/C8H10N4O2/c1-10-4-9-6-5(10)7(13)12(3)8(14)11(6)2/h4H,1-3H3" for name in names(20)
    ),
    "Chinese": "".join(f"第{n}章：河水在大雨之后淹没了山谷，镇议会讨论了新的大坝。\n" for n in range(60)),
    "Japanese": "".join(
        f"{n}日目、大雨のあと川が谷をあふれ、町議会は新しいダムについて話し合った。\n" for n in range(60)
    ),
    "Thai": "".join(f"วันที่ {n} แม่น้ำท่วมหุบเขาหลังฝนตกหนัก สภาเมืองประชุมเรื่องเขื่อนใหม่\n" for n in range(60)),
    "Arabic": "".join(f"في اليوم {n} فاض النهر في الوادي بعد المطر الغزير، واجتمع المجلس.\n" for n in range(60)),
    "Hindi": "".join(f"दिन {n}: भारी बारिश के बाद नदी ने घाटी को डुबो दिया।\n" for n in range(60)),
    "a recipe": "\n".join(
        f"{n * 25} g {thing}" for n, thing in enumerate(["flour", "sugar", "butter", "salt", "yeast", "rye"], 1)
    )
    + "\nMix 2 tbsp with 1/2 l of water at 40 °C for 10 min, then bake at 220 °C for 35 min.\n" * 3,
    "camel case": "\n".join(
        f"private {kind}Repository{n} default{kind}Repository{n} = applicationContext.getBeanOfType{n}({kind}.class);"
        for n, kind in enumerate(["UserAccount", "OrderHistory2", "HttpRequest4xx"] * 15)
    ),
    "constants": "\n".join(f"    FMULv{n}i32_indexed_OP{n % 7}, VADDQv{n}i16_OP2," for n in range(60)),
    "regular expressions": "\n".join(
        r"NUMBER = /(?:0[xX][\da-fA-F](?:_?[\da-fA-F])*|0[oO][0-7](?:_?[0-7])*|0[bB][01](?:_?[01])*)n?|0n|[1-9]"
        + f"{n}/"
        for n in range(8)
    ),
    "minified code": "!function(e,t){"
    + "".join(f"e.a{n}=t(n[{n}]),r.b=o?i({n}):s||c&&u;return function(e){{return e.map(t)}};" for n in range(30)),
    "HTML with text": "".join(f"<tr><td>{name}</td><td><br></td><td>{digits(3)}</td></tr>\n" for name in names(40)),
    "a log that says something": "\n".join(
        f"2025-03-01 12:00:{n % 60:02} INFO [worker-{n}] request {n} of {name} done in {n} ms"
        for n, name in enumerate(names(60))
    ),
    "git log": "\n".join(
        f"commit {hashlib.sha1(name.encode(), usedforsecurity=False).hexdigest()}\nAuthor: {name} <mail@example.com>\n"
        f"Date:   Mon Mar 3 17:42:{n % 60:02} 2025 +0100\n\n    Mend the harbour's lamp {n}\n"
        for n, name in enumerate(names(30))
    ),
    "a digest in a text": f"{TEXT} Its SHA-256 is {hashlib.sha256(BYTES).hexdigest()}, MD5 {BYTES[:16].hex()}. {TEXT}",
    "links that say something": "\n".join(
        f"https://example.com/2025/03/{n}/the-river-floods-the-valley-after-heavy-rain?ref=newsletter&id={n}"
        for n in range(40)
    ),
    "ticket numbers": "\n".join(
        f"PROJ-{digits(4)} {name}: opened 2025-03-0{n % 9 + 1}" for n, name in enumerate(names(60))
    ),
}


@pytest.mark.parametrize("name", SPOKEN)
def test_it_is_never_passed_over(name: str) -> None:
    """Alone, and in a text: rows of blanks may be shortened in it, no sign of it may be missing."""
    for content in (SPOKEN[name], f"{TEXT}\n\n{SPOKEN[name]}\n\n{AFTER}"):
        found = condensed(content)
        assert not found.passed_over
        assert found.text.split() == content.split()


@pytest.mark.parametrize("name", ["texts", "npm", "debian", "long"])
def test_the_texts_that_quality_is_measured_on_stay_as_they_are(name: str) -> None:
    """To the character: they are what people write. The licences have rows of blanks."""
    for document in sets.loaded(name, None).documents:
        found = condensed(document.text)
        assert not found.passed_over
        assert found.text.split() == document.text.split() if name == "long" else found.text == document.text
