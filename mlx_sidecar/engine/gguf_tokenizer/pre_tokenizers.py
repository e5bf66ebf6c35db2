"""How byte-level tokenizers cut a text before they merge: `tokenizer.ggml.pre`, a name for patterns and for defaults.

Names, patterns and defaults are those of llama.cpp (src/llama-vocab.cpp, src/unicode.cpp; September 2026): a file names
what llama.cpp is to do. For some models that isn't what the tokenizer.json does that they were published with. It never
normalizes to NFC (Qwen), tells cases apart in ASCII only (Tekken, GPT-4o), and cuts combining marks off where its
pattern has none. A test compares what each name does with ids that llama.cpp gave.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PreTokenizer:
    """Patterns, each of which cuts out what it finds in the pieces that those before it left.

    `ignore_merges`: a piece that is a token as a whole is that token. `adds_bos` is the default of `add_bos_token`.
    `byte_level` says that tokens are written in GPT-2's alphabet of bytes; else blanks are written as "▁" and bytes as
    `<0xE2>`, as in SentencePiece.
    """

    patterns: tuple[str, ...]
    ignore_merges: bool = False
    adds_bos: bool = False
    byte_level: bool = True


def pre_tokenizer(name: str) -> PreTokenizer | None:
    """None for a name that isn't known."""
    return _BY_NAME.get(name)


def _either(*patterns: str) -> str:
    return "|".join(patterns)


# Pieces of patterns. Classes are written out where `(?i:…)` would find more: it takes "ſ" for an s.
_SUFFIX = "'(?:[stmd]|re|ve|ll)"
_ANY_SUFFIX = "'(?:[sStTmMdD]|[rR][eE]|[vV][eE]|[lL][lL])"
_WORD = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_SIGNS = r" ?[^\s\p{L}\p{N}]+"
_SIGNS_AND_LINES = rf"{_SIGNS}[\r\n]*"
_SIGNS_AND_PATH = rf"{_SIGNS}[\r\n/]*"
_BLANKS = _either(r"\s+(?!\S)", r"\s+")
_LINES_AND_BLANKS = _either(r"\s*[\r\n]+", _BLANKS)
_DIGIT, _THREE_DIGITS = r"\p{N}", r"\p{N}{1,3}"
_ASCII_SIGN = r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~]"""

_GPT2 = _either(_SUFFIX, r" ?\p{L}+", r" ?\p{N}+", _SIGNS, _BLANKS)
_LLAMA3 = _either(_ANY_SUFFIX, _WORD, _THREE_DIGITS, _SIGNS_AND_LINES, _LINES_AND_BLANKS)
_QWEN2 = _either(_ANY_SUFFIX, _WORD, _DIGIT, _SIGNS_AND_LINES, _LINES_AND_BLANKS)
_CJK = r"[\x{4E00}-\x{9FA5}\x{3040}-\x{309F}\x{30A0}-\x{30FF}]+"
_DEEPSEEK_WORD = _either(rf"{_ASCII_SIGN}[A-Za-z]+", r"[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+")
_DEEPSEEK = _either(_DEEPSEEK_WORD, r" ?[\p{P}\p{S}]+[\r\n]*", _LINES_AND_BLANKS)
_DEEPSEEK_SIGNS = r"\s?[!-/:-~\x{FF01}-\x{FF0F}\x{FF1A}-\x{FF5E}\x{2018}-\x{201F}\x{3001}\x{3002}]+"
_DEEPSEEK_CJK = r"[\x{800}-\x{9FA5}\x{AC00}-\x{D7FF}&&\S]+"
_CLAUSE = r" ?[^(\s|.,!?\x{2026}\x{3002}\x{FF0C}\x{3001}\x{964}\x{6D4}\x{60C})]+"
_LINES = r"[^\n]+|\n+"

# A run of digits in threes from its end. The first pattern takes what stands before the run along. Only at the run's
# beginning does a pattern look to its end, and what follows the last run is a piece, too: a long text would cost its
# square else.
_THREES_FROM_THE_END = _either(r"\P{N}*+(?:(?<!\p{N})\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N}))|\z)", r"\p{N}{3}")
_ASCII_THREES_FROM_THE_END = _either(r"(?<![0-9])[0-9]{1,2}(?=(?:[0-9]{3})+(?![0-9]))", r"[0-9]{3}")


def _camel_case(upper: str, lower: str, suffix: str, digits: str) -> str:
    lead = r"[^\r\n\p{L}\p{N}]?"
    words = (f"{lead}{upper}*{lower}+{suffix}", f"{lead}{upper}+{lower}*{suffix}")
    return _either(*words, digits, _SIGNS_AND_PATH, _LINES_AND_BLANKS)


_LETTERS = (r"[\p{L}&&[^a-z]]", r"[\p{L}&&[^A-Z]]")
_LETTERS_AND_MARKS = (r"[[\p{L}\p{M}]&&[^a-z]]", r"[[\p{L}\p{M}]&&[^A-Z]]")
_ONE_CASE = (r"[\p{L}\p{M}]", r"[\p{L}\p{M}]")

# Latin, Greek, Cyrillic and other letters that have cases, as DeepSeek's tokenizer lists them.
_CASED_LETTERS = (
    r"A-Za-z\x{B5}\x{C0}-\x{D6}\x{D8}-\x{F6}\x{F8}-\x{1BA}\x{1BC}-\x{1BF}\x{1C4}-\x{293}\x{295}-\x{2AF}"
    r"\x{370}-\x{373}\x{376}\x{377}\x{37B}-\x{37D}\x{37F}\x{386}\x{388}-\x{38A}\x{38C}\x{38E}-\x{3A1}"
    r"\x{3A3}-\x{3F5}\x{3F7}-\x{481}\x{48A}-\x{52F}\x{531}-\x{556}\x{10A0}-\x{10C5}\x{13A0}-\x{13F5}"
    r"\x{13F8}-\x{13FD}\x{1C90}-\x{1CBA}\x{1CBD}-\x{1CBF}\x{1D00}-\x{1D2B}\x{1D6B}-\x{1D77}\x{1D79}-\x{1D9A}"
    r"\x{1E00}-\x{1F15}\x{1F18}-\x{1F1D}\x{1F20}-\x{1F45}\x{1F48}-\x{1F4D}\x{1F50}-\x{1F57}\x{1F59}\x{1F5B}"
    r"\x{1F5D}\x{1F5F}-\x{1F7D}\x{1F80}-\x{1FB4}\x{1FB6}-\x{1FBC}\x{1FBE}\x{1FC2}-\x{1FC4}\x{1FC6}-\x{1FCC}"
    r"\x{1FD0}-\x{1FD3}\x{1FD6}-\x{1FDB}\x{1FE0}-\x{1FEC}\x{1FF2}-\x{1FF4}\x{1FF6}-\x{1FFC}\x{2102}\x{2107}"
    r"\x{210A}-\x{2113}\x{2115}\x{2119}-\x{211D}\x{2124}\x{2126}\x{2128}\x{212A}-\x{212D}\x{212F}-\x{2134}\x{2139}"
    r"\x{213C}-\x{213F}\x{2145}-\x{2149}\x{214E}\x{2183}\x{2184}\x{2C00}-\x{2C7B}\x{2C7E}-\x{2CE4}"
    r"\x{2CEB}-\x{2CEE}\x{2CF2}\x{2CF3}\x{A640}-\x{A66D}\x{A680}-\x{A69B}\x{A722}-\x{A76F}\x{A771}-\x{A787}"
    r"\x{A78B}-\x{A78E}\x{AB70}-\x{ABBF}\x{FB00}-\x{FB06}\x{FB13}-\x{FB17}\x{FF21}-\x{FF3A}\x{FF41}-\x{FF5A}"
    r"\x{10400}-\x{1044F}\x{104B0}-\x{104D3}\x{104D8}-\x{104FB}\x{10C80}-\x{10CB2}\x{10CC0}-\x{10CF2}"
    r"\x{118A0}-\x{118DF}\x{1E900}-\x{1E943}"
)
_HAN = (
    r"\x{4E00}-\x{9FFF}\x{3400}-\x{4DBF}\x{20000}-\x{2A6DF}\x{2A700}-\x{2B73F}\x{2B740}-\x{2B81F}"
    r"\x{2B820}-\x{2CEAF}\x{2CEB0}-\x{2EBEF}\x{F900}-\x{FAFF}\x{2F800}-\x{2FA1F}"
)
_KIMI_WORD = rf"[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}&&[^{_HAN}]]+(?:{_ANY_SUFFIX})?"
_ASIAN = (
    r"[\x{4E00}-\x{9FFF}\x{3400}-\x{4DBF}\x{8C48}-\x{FAFF}\x{3040}-\x{309F}\x{30A0}-\x{30FF}\x{FF65}-\x{FF9F}"
    r"\x{2F00}-\x{2FDF}\x{E40}-\x{E7F}\x{E80}-\x{EFF}\x{1780}-\x{17FF}\x{1000}-\x{109F}\x{AA60}-\x{AA7F}"
    r"\x{A9E0}-\x{A9FF}\x{AC00}-\x{D7AF}\x{1100}-\x{11FF}]+"
)
_YOUTU_ASIAN = _either(
    r"[\x{AC00}-\x{D7A3}\x{3131}-\x{318E}]+",
    r"[\x{FF01}\x{2026}\x{201C}\x{201D}\x{2018}\x{2019}\x{2014}\x{FF1A}\x{FF1B}\x{FF0C}\x{3001}-\x{303F}\x{FE30}-\x{FE4F}]+",
    r"[\x{3105}-\x{312F}]+",
    _CJK,
)
_JAIS2_BLANKS = _either(*(rf"\s{{{count}}}(?!\S)" for count in (512, 256, 128, 64, 32, 16, 8, 4, "1,2")), r"\s")

_DEFAULT = PreTokenizer((r"[\p{P}$+<=>^~|]+", _GPT2, r"\p{N}+", "[0-9][0-9][0-9]"))
_PLAIN_GPT2 = PreTokenizer((_GPT2,))
_DIGITS_THEN_GPT2 = PreTokenizer((_DIGIT, _GPT2))
_LIKE_LLAMA3 = PreTokenizer((_LLAMA3,), ignore_merges=True, adds_bos=True)
_PLAIN_LLAMA3 = PreTokenizer((_LLAMA3,))
_PLAIN_QWEN2 = PreTokenizer((_QWEN2,))
_LIKE_DEEPSEEK3 = PreTokenizer((_THREE_DIGITS, _CJK, _DEEPSEEK))
_GPT4O = PreTokenizer((_camel_case(*_LETTERS, f"(?:{_ANY_SUFFIX})?", _THREE_DIGITS),))
_BLOOM = PreTokenizer((_CLAUSE,))
_AYA = PreTokenizer((_THREES_FROM_THE_END, _camel_case(*_ONE_CASE, f"(?:{_ANY_SUFFIX})?", _THREE_DIGITS)))
_SPM_STYLE = PreTokenizer((_LINES,), byte_level=False)
_GEMMA4 = PreTokenizer((_LINES,), adds_bos=True, byte_level=False)

_NAMES: tuple[tuple[PreTokenizer, str], ...] = (
    (_DEFAULT, "default"),
    (_LIKE_LLAMA3, "llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano"),
    (_PLAIN_LLAMA3, "dbrx smaug-bpe glm4 chatglm-bpe"),
    (_PLAIN_GPT2, "gpt-2 phi-2 jina-es jina-de gigachat jina-v2-es jina-v2-de a.x-4.0 mellum modern-bert"),
    (_PLAIN_GPT2, "jina-v1-en jina-v2-code roberta-bpe mpt olmo jais trillion granite-docling exaone4"),
    (_DIGITS_THEN_GPT2, "starcoder refact command-r smollm codeshell exaone minerva-7b mellum2"),
    (_PLAIN_QWEN2, "qwen2 deepseek-r1-qwen kormo f2llmv2 megrez stablelm2 hunyuan solar-open grok-2"),
    (_PLAIN_QWEN2, "bailingmoe bailingmoe2 llada-moe"),
    (_LIKE_DEEPSEEK3, "deepseek-v3 hunyuan-dense hy_v4 joyai-llm"),
    (_GPT4O, "gpt-4o llama4 kanana2 talkie minimax-m2"),
    (_BLOOM, "poro-chat bloom gpt3-finnish"),
    (_AYA, "tiny_aya cohere2moe"),
    (_GEMMA4, "gemma4 granite-embed-multi-311m"),
    (_SPM_STYLE, "sarvam-moe"),
    (PreTokenizer((_CLAUSE, _DIGIT)), "viking"),
    (
        PreTokenizer((r"[\p{P}$+<=>^~|`]+", _GPT2, "[0-9][0-9][0-9]")),
        "falcon",
    ),
    (
        PreTokenizer(
            (
                "[\r\n]",
                rf"\s?[{_CASED_LETTERS}]+",
                _DEEPSEEK_SIGNS,
                r"\s+$",
                _DEEPSEEK_CJK,
                r"\p{N}+",
            )
        ),
        "deepseek-llm",
    ),
    (PreTokenizer(("[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _DEEPSEEK_CJK, _DIGIT)), "deepseek-coder"),
    (
        PreTokenizer(
            (_THREE_DIGITS, _CJK, _either(_DEEPSEEK_WORD, r" ?[\p{P}\p{S}]+", r"[\r\n]", _BLANKS), _DIGIT),
        ),
        "spark2_5",
    ),
    (
        PreTokenizer(
            (
                _YOUTU_ASIAN,
                _camel_case(*_ONE_CASE, f"(?:{_ANY_SUFFIX})?", _DIGIT),
            ),
            ignore_merges=True,
        ),
        "youtu",
    ),
    (
        PreTokenizer(
            (
                _either(
                    _ANY_SUFFIX,
                    r"[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+",
                    _DIGIT,
                    r" ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*",
                    _LINES_AND_BLANKS,
                ),
            )
        ),
        "qwen35",
    ),
    (PreTokenizer((_camel_case(*_LETTERS, "", _DIGIT),), ignore_merges=True, adds_bos=True), "tekken"),
    (
        PreTokenizer(
            (
                "<sentinel:[0-9]+>",
                "IMGIMG[A-I]{1,4}Z",
                r"[\t\n]|    |  ",
                _DIGIT,
                r"[\p{P}!-/:-@\[-`{-~]",
                _GPT2,
            ),
            adds_bos=True,
        ),
        "chameleon",
    ),
    (
        PreTokenizer((_camel_case(*_LETTERS_AND_MARKS, f"(?:{_ANY_SUFFIX})?", _THREE_DIGITS),), ignore_merges=True),
        "granite-embed-multi-97m",
    ),
    (
        PreTokenizer((_either(f"[{_HAN}]+", _KIMI_WORD, _THREE_DIGITS, _SIGNS_AND_LINES, _LINES_AND_BLANKS),)),
        "kimi-k2",
    ),
    (PreTokenizer((r"\p{N}+", _ASCII_THREES_FROM_THE_END)), "superbpe"),
    (
        PreTokenizer((_either(_ANY_SUFFIX, _WORD, _DIGIT, r" ?[^\s\p{L}\p{N}\r\n]+", _LINES_AND_BLANKS),)),
        "seed-coder",
    ),
    (PreTokenizer((_either(_WORD, _DIGIT, _SIGNS_AND_LINES, _LINES_AND_BLANKS),)), "ufakzeka"),
    (PreTokenizer((_THREES_FROM_THE_END, _ASIAN, _DEEPSEEK)), "afmoe"),
    (PreTokenizer((_LINES, _QWEN2)), "laguna"),
    (
        PreTokenizer(
            (
                _either(
                    _ANY_SUFFIX,
                    r"[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+",
                    _DIGIT,
                    rf"{_SIGNS}[\r\n/]?",
                    r"\s*[\r\n]",
                    _BLANKS,
                ),
            )
        ),
        "exaone-moe",
    ),
    (
        PreTokenizer(
            (_THREE_DIGITS, _either(_ANY_SUFFIX, _WORD, r"\p{N}+", _SIGNS_AND_LINES, _LINES_AND_BLANKS)),
            ignore_merges=True,
        ),
        "minicpm5",
    ),
    (
        PreTokenizer((_either(_ANY_SUFFIX, _WORD, _THREE_DIGITS, _SIGNS_AND_LINES, r"\s*[\r\n]+", _JAIS2_BLANKS),)),
        "jais-2",
    ),
)
_BY_NAME = {name: made for made, names in _NAMES for name in names.split()}
