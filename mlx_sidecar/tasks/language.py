"""Which language a text is written in, as far as its letters and most frequent words tell.

Tasks name the language behind the document ("Write the tags in German."). With English examples Qwen answered German,
French and Japanese texts in English; with examples in German and Japanese among them, some; with the sentence, all. A
list of frequent words tells nine languages apart, and scripts tell seven more (2026-11-29).
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

ENGLISH = "English"
UNKNOWN = "the language of the text"
"""Said of a text that isn't English, where more isn't known."""

_SAMPLE_CHARS = 4096
_MOST_FOREIGN_LETTERS = 0.06
"""Of all letters, those beyond ASCII: English has hardly any."""

_SCRIPTS = {
    "HIRAGANA": "Japanese",
    "KATAKANA": "Japanese",
    "HANGUL": "Korean",
    "CJK": "Chinese",
    "GREEK": "Greek",
    "HEBREW": "Hebrew",
    "THAI": "Thai",
}
"""Scripts that one language is written in, by the first word of their characters' names in Unicode."""

_LEAST_KANA = 0.1
"""Japanese has this share of kana at least; Chinese has none."""

_WORDS = {
    ENGLISH: "the of and to in is for that with on at by from this are was be it not you we i",
    "German": "der die das und ist nicht mit den von zu ein eine für auf im dem sich wird auch bitte",
    "French": "le la les des et est une dans pour que du au sur pas avec vous nous ce par ne",
    "Spanish": "el la los las de y que en una por con del se para no es su al lo como",
    "Italian": "il lo la gli di che per non sono un una del della alle dei con è nel si da",
    "Portuguese": "o os as de e que em uma por com do da não para no na se um ao dos",
    "Dutch": "de het een van en niet is op te dat met voor zijn die aan er je naar bij ook",
    "Swedish": "och att som det är en ett på för av med inte den till har om vi jag från de",
    "Polish": "i w na z do nie się jest że to od dla po przez jak są będzie oraz ze o",
    "Danish": "og at som det er en et på for af med ikke den til har om vi jeg fra de",
    "Norwegian": "og å som det er en et på for av med ikke den til har om vi jeg fra de",
    "Czech": "a v na se je že to z do s o k i pro za jsou jako ale by od",
    "Croatian": "i u na je se da za su s od ne a o koji će kao iz bi nije što",
    "Romanian": "și de în a la cu pe nu este o un din care să pentru mai că se sunt ale",
    "Catalan": "els les i per amb és dels ha un com això més són aquest aquesta pels",
    "Finnish": "ja on ei se että oli joka mutta myös hän kun ovat niin tai jos sen olla ole kuin vain",
    "Hungarian": "a az és hogy nem is egy van ez meg de csak már el mint még volt ha vagy kell",
    "Turkish": "ve bir bu için de da ile çok daha olarak var en gibi kadar olan ne ama ya mi değil",
    "Indonesian": "yang dan di ini itu dengan untuk dari pada ke tidak akan dalam adalah juga ada oleh saya atau sudah",
}
"""Frequent short words. Languages that share many are named by neither name."""

_LEAST_LEAD = 1.2
"""A language must have this many times the words of the next one to be named."""

_LEAST_WORDS = 3
_LEAST_SHARE = 0.12
"""So many different words of a language, and such a share of all words: names like Los Gatos have fewer."""


def language_of(text: str) -> str:
    """The English name of the language; English where nothing is to be seen, UNKNOWN where it is another one."""
    sample = text[:_SAMPLE_CHARS].casefold()
    letters = [sign for sign in sample if sign.isalpha()]
    scripts = Counter(unicodedata.name(sign, "").partition(" ")[0] for sign in letters if not sign.isascii())
    if foreign := sum(count for script, count in scripts.items() if script != "LATIN"):
        kana = scripts["HIRAGANA"] + scripts["KATAKANA"]
        if kana > _LEAST_KANA * len(letters):
            return "Japanese"
        if 2 * foreign > len(letters):
            return _SCRIPTS.get(max(scripts, key=lambda script: scripts[script]), UNKNOWN)
    return _by_words(sample, scripts["LATIN"] > _MOST_FOREIGN_LETTERS * len(letters))


def _by_words(sample: str, has_accents: bool) -> str:
    words = Counter(re.findall(r"[^\W\d_]+", sample))
    known = {name: [word for word in frequent.split() if word in words] for name, frequent in _WORDS.items()}
    counts = {name: sum(words[word] for word in found) for name, found in known.items()}
    best, second = sorted(counts, key=lambda name: -counts[name])[:2]
    is_sure = len(known[best]) >= _LEAST_WORDS and counts[best] >= _LEAST_SHARE * words.total()
    if best == ENGLISH or not is_sure:
        return UNKNOWN if has_accents and not counts[ENGLISH] else ENGLISH
    return best if counts[best] >= _LEAST_LEAD * max(counts[second], 1) else UNKNOWN
