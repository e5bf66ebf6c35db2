"""GGUF files with something wrong in them, made from a seed: the same number gives the same bytes."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Sequence

from tests.support.gguf_files import ARRAY, F32, Q8_0, STRING, UINT32, UINT64, gguf, key, string, tensor

ABSURD = (0, 1, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**40, 2**53, 2**63 - 1, 2**63, 2**64 - 32, 2**64 - 1)
"""As counts, lengths, sizes and offsets."""

_TOKENS = [f"token{number}" for number in range(64)]
_METADATA: dict[str, object] = {
    **{"general.architecture": "llama", "general.name": "small", "general.file_type": 7, "general.alignment": 32},
    **{"llama.block_count": 1, "llama.context_length": 128, "llama.embedding_length": 32},
    **{"llama.feed_forward_length": 64, "llama.attention.head_count": 2, "llama.attention.head_count_kv": 1},
    **{"llama.rope.freq_base": 10000.0, "llama.rope.dimension_count": 16, "llama.vocab_size": 64},
    "llama.attention.layer_norm_rms_epsilon": 1e-5,
    **{"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "smollm", "tokenizer.ggml.tokens": _TOKENS},
    **{"tokenizer.ggml.token_type": [1] * 64, "tokenizer.ggml.merges": ["t o", "to k"]},
    **{"tokenizer.ggml.bos_token_id": 1, "tokenizer.ggml.eos_token_id": 2, "tokenizer.ggml.add_bos_token": False},
    "tokenizer.chat_template": "{% for message in messages %}{{ message['content'] }}{% endfor %}",
}
_SHAPES: dict[str, tuple[int, ...]] = {
    **{"token_embd.weight": (32, 64), "output_norm.weight": (32,), "output.weight": (32, 64)},
    **{"blk.0.attn_norm.weight": (32,), "blk.0.ffn_norm.weight": (32,), "blk.0.attn_q.weight": (32, 32)},
    **{"blk.0.attn_k.weight": (32, 16), "blk.0.attn_v.weight": (32, 16), "blk.0.attn_output.weight": (32, 32)},
    **{"blk.0.ffn_gate.weight": (32, 64), "blk.0.ffn_up.weight": (32, 64), "blk.0.ffn_down.weight": (64, 32)},
}


class _Parts:
    """A small model, in pieces that can be spoiled before they are put together."""

    def __init__(self) -> None:
        self.keys = [key(name, stated) for name, stated in _METADATA.items()]
        self.tensors = list[bytes]()
        self.data = b""
        self.offsets = dict[str, int]()
        for name, shape in _SHAPES.items():
            kind = Q8_0 if len(shape) == 2 else F32
            values = shape[0] * (shape[1] if len(shape) == 2 else 1)
            self.offsets[name] = len(self.data)
            self.tensors.append(tensor(name, shape, len(self.data), kind))
            size = values // 32 * 34 if kind == Q8_0 else values * 4
            self.data += bytes(-(-size // 32) * 32)

    def file(self) -> bytes:
        """All of it."""
        return gguf(self.keys, self.tensors, self.data)


def sound() -> bytes:
    """The file that the others are made from: its header is right, its weights are zeros."""
    return _Parts().file()


def damaged(seed: int) -> tuple[str, bytes]:
    """One of the damages by its name, and the file."""
    draw = random.Random(seed)
    spoil = _DAMAGES[seed % len(_DAMAGES)]
    return f"{spoil.__name__.strip('_')}-{seed}", spoil(draw)


def _cut(draw: random.Random) -> bytes:
    whole = sound()
    return whole[: draw.randrange(len(whole))]


def _cut_in_the_header(draw: random.Random) -> bytes:
    parts = _Parts()
    parts.data = b""
    whole = parts.file()
    return whole[: draw.randrange(len(whole))]


def _flipped(draw: random.Random) -> bytes:
    """One to eight bytes of the header."""
    whole = bytearray(sound())
    header = len(whole) - len(_Parts().data)
    for _ in range(draw.randint(1, 8)):
        whole[draw.randrange(header)] ^= draw.randint(1, 255)
    return bytes(whole)


def _absurd_anywhere(draw: random.Random) -> bytes:
    """Eight bytes of the header are a number that can't be, whatever stood there."""
    whole = bytearray(sound())
    place = draw.randrange(len(whole) - len(_Parts().data) - 8)
    whole[place : place + 8] = struct.pack("<Q", draw.choice(ABSURD))
    return bytes(whole)


def _absurd_count(draw: random.Random) -> bytes:
    whole = bytearray(sound())
    place = draw.choice([8, 16])
    whole[place : place + 8] = struct.pack("<Q", draw.choice(ABSURD[2:]))
    return bytes(whole)


def _absurd_array(draw: random.Random) -> bytes:
    parts = _Parts()
    kind = draw.choice([*range(13), 13, 2**31])
    array = struct.pack("<IIQ", ARRAY, kind, draw.choice(ABSURD[1:]))
    parts.keys[draw.randrange(len(parts.keys))] = string(draw.choice(list(_METADATA))) + array
    return parts.file()


def _absurd_string(draw: random.Random) -> bytes:
    parts = _Parts()
    stated = struct.pack("<IQ", STRING, draw.choice(ABSURD[2:]))
    parts.keys[draw.randrange(len(parts.keys))] = string(draw.choice(list(_METADATA))) + stated
    return parts.file()


def _deep_array(draw: random.Random) -> bytes:
    parts = _Parts()
    depth = draw.choice([2, 100, 100_000])
    parts.keys[-1] = string("general.tags") + struct.pack("<I", ARRAY) + struct.pack("<IQ", ARRAY, 1) * depth
    return parts.file()


def _wrong_type(draw: random.Random) -> bytes:
    """A key that is known has a value of another kind."""
    parts = _Parts()
    number = draw.randrange(len(parts.keys))
    name = list(_METADATA)[number]
    others = [-1.5, True, "text", b"\xff\xfe", 5, 2**32 - 1, ["a"], [1], []]
    parts.keys[number] = key(name, draw.choice([each for each in others if type(each) is not type(_METADATA[name])]))
    return parts.file()


def _absurd_number(draw: random.Random) -> bytes:
    """A key that is a number is one that can't be."""
    parts = _Parts()
    numbers = [number for number, stated in enumerate(_METADATA.values()) if type(stated) is int]
    for number in draw.sample(numbers, draw.randint(1, 3)):
        parts.keys[number] = string(list(_METADATA)[number]) + struct.pack("<IQ", UINT64, draw.choice(ABSURD))
    return parts.file()


def _missing_key(draw: random.Random) -> bytes:
    parts = _Parts()
    del parts.keys[draw.randrange(len(parts.keys))]
    return parts.file()


def _key_twice(draw: random.Random) -> bytes:
    parts = _Parts()
    parts.keys.append(draw.choice(parts.keys))
    return parts.file()


def _odd_tensor(draw: random.Random) -> bytes:
    """Its shape overflows, its type isn't one, it lies outside, over another or nowhere."""
    parts = _Parts()
    number = draw.randrange(len(parts.tensors))
    name = list(_SHAPES)[number]
    count = draw.choice([0, 1, 2, 3, 4, 5])
    shape = [draw.choice([*ABSURD, 32, 64]) for _ in range(count)]
    kind = draw.choice([F32, Q8_0, draw.randrange(64), 2**31])
    offset = draw.choice([0, 31, parts.offsets[name] + 32, *ABSURD])
    change = draw.randrange(4)
    parts.tensors[number] = tensor(
        name,
        shape if change in (0, 3) else _SHAPES[name],
        offset if change in (1, 3) else parts.offsets[name],
        kind if change in (2, 3) else (Q8_0 if len(_SHAPES[name]) == 2 else F32),
    )
    return parts.file()


def _all_in_one_place(draw: random.Random) -> bytes:
    """Small file, any number of large tensors."""
    parts = _Parts()
    parts.tensors = [tensor(f"t{number}", (32, 64), 0, Q8_0) for number in range(draw.choice([2, 5000]))]
    return parts.file()


def _tensor_missing_or_twice(draw: random.Random) -> bytes:
    parts = _Parts()
    if draw.random() < 0.5:
        parts.tensors.append(draw.choice(parts.tensors))
    else:
        del parts.tensors[draw.randrange(len(parts.tensors))]
    return parts.file()


def _name_that_is_none(draw: random.Random) -> bytes:
    parts = _Parts()
    raw = draw.choice([b"", b"\xff\xfe", b"\0", b"a" * 70_000, b"../../etc/passwd", "\u202e".encode()])
    if draw.random() < 0.5:
        parts.tensors[draw.randrange(len(parts.tensors))] = string(raw) + struct.pack("<IQIQ", 1, 32, F32, 0)
    else:
        parts.keys[draw.randrange(len(parts.keys))] = string(raw) + struct.pack("<II", UINT32, 1)
    return parts.file()


def _split_that_is_none(draw: random.Random) -> bytes:
    parts = _Parts()
    parts.keys += [key("split.count", draw.choice([1, 2, 2**31])), key("split.no", draw.choice([0, 7]))]
    return parts.file()


def _noise(draw: random.Random) -> bytes:
    return draw.choice([b"", b"GGUF", b"GGUF\x03\0\0\0", b"GGUF"]) + draw.randbytes(draw.choice([0, 16, 5000]))


_DAMAGES: Sequence[Callable[[random.Random], bytes]] = (
    *(_cut, _cut_in_the_header, _flipped, _absurd_anywhere, _absurd_count, _absurd_array, _absurd_string),
    *(_deep_array, _wrong_type, _absurd_number, _missing_key, _key_twice, _odd_tensor, _all_in_one_place),
    *(_tensor_missing_or_twice, _name_that_is_none, _split_that_is_none, _noise),
)

COUNT_OF_KINDS = len(_DAMAGES)
