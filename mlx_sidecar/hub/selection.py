"""Which of a repository's files a download fetches: what MLX loads, what patterns name, or one model as GGUF.

A repository of GGUF files holds the same model ten or twenty times, quantized in as many ways: nobody wants them all.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from fnmatch import fnmatch
from typing import Any

from msgspec import Struct

from mlx_sidecar.errors import InvalidParams
from mlx_sidecar.models.gguf.files import SUFFIX, split_of

MODEL_FILES = (
    "*.json",
    "model*.safetensors",
    "tokenizer.model",
    "tiktoken.model",
    "*.tiktoken",
    "*.txt",
    "*.jsonl",
    "*.jinja",
)
"""What mlx_lm loads, but for code (mlx_lm.utils, _download)."""

BESIDE_GGUF = ("config.json", "generation_config.json", "task_prompts.json")
"""What is fetched with a GGUF file from the folder that it lies in: tokenizer and template are in the file itself."""

_CODE = (".py", ".pyc", ".pyd", ".so", ".dylib", ".dll", ".exe", ".sh", ".bat", ".ps1")
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".npy", ".npz", ".h5", ".keras")
NEVER_FETCHED = _CODE + _PICKLES
"""Endings of what runs code when it is loaded or started."""

_MAX_LISTED = 100
_MAX_IN_SENTENCE = 6
_MAX_NAME_CHARS = 200

Entry = dict[str, Any]
"""A file as the hub lists it: nothing in it is checked yet."""


class GGUFChoice(Struct, frozen=True):
    """A model that a repository holds as GGUF: its file or the first of its parts, and the bytes of all parts."""

    gguf_file: str
    size_bytes: int


def select(repo_id: str, listed: Sequence[Entry], patterns: Sequence[str] | None, gguf_file: str | None) -> list[Entry]:
    """The files to fetch. Raises InvalidParams where there is none, or where somebody has to choose."""
    if gguf_file is not None:
        return _of_gguf(repo_id, listed, gguf_file)
    wanted = [entry for entry in listed if _is_wanted(name_of(entry), patterns or MODEL_FILES)]
    if patterns is None and not any(name_of(entry).endswith(".safetensors") for entry in wanted):
        choices = gguf_choices(listed)
        if len(choices) > 1:
            raise _choose(f"'{repo_id}' holds {len(choices)} GGUF models", choices)
        if choices:
            return _of_gguf(repo_id, listed, choices[0].gguf_file)
    if not wanted:
        raise InvalidParams(
            f"'{repo_id}' has no file that is wanted; "
            + ("allow_patterns names none, or code and pickles only" if patterns else "it isn't a model for MLX"),
            {
                "field": "allow_patterns" if patterns else "repo_id",
                "files": [name_of(entry)[:_MAX_NAME_CHARS] for entry in listed[:50]],
            },
        )
    return wanted


def name_of(entry: Entry) -> str:
    """A file's path in the repository, whatever the hub says that it is."""
    return str(entry.get("rfilename"))


def gguf_choices(listed: Iterable[Entry]) -> list[GGUFChoice]:
    """The models that are there as GGUF, the smallest first; a vision model's projector is none."""
    sizes = dict[str, int]()
    for entry in listed:
        name, size = name_of(entry), entry.get("size")
        if _is_gguf(name) and not name.rpartition("/")[2].lower().startswith("mmproj"):
            split = split_of(name)
            first = name if split is None else f"{split.prefix}-00001-of-{split.count:05}{SUFFIX}"
            sizes[first] = sizes.get(first, 0) + (size if type(size) is int else 0)
    return sorted((GGUFChoice(name, size) for name, size in sizes.items()), key=lambda each: each.size_bytes)


def _of_gguf(repo_id: str, listed: Sequence[Entry], gguf_file: str) -> list[Entry]:
    """A GGUF file, or all parts of its set, and what lies beside it."""
    by_name = {name_of(entry): entry for entry in listed}
    shown = gguf_file[:_MAX_NAME_CHARS]
    if gguf_file not in by_name or not _is_gguf(gguf_file):
        choices = gguf_choices(listed)
        if not choices:
            reason = f"'{repo_id}' holds no GGUF file; leave gguf_file out"
            raise InvalidParams(reason, {"field": "gguf_file", "gguf_files": []})
        nearest = _nearest(gguf_file, choices)
        raise _choose(f"'{repo_id}' has no '{shown}'" + (f"; did you mean '{nearest}'?" if nearest else ""), choices)
    split = split_of(gguf_file)
    parts = (gguf_file,) if split is None else split.names
    if parts[0] != gguf_file:
        message = f"field 'gguf_file': '{shown}' is one part of a split model; give the first, '{parts[0]}'"
        raise InvalidParams(message, {"field": "gguf_file"})
    if missing := next((part for part in parts if part not in by_name), None):
        message = f"field 'gguf_file': '{repo_id}' lacks '{missing[:_MAX_NAME_CHARS]}', a part of it; choose another"
        raise InvalidParams(message, {"field": "gguf_file"})
    folder = gguf_file[: gguf_file.rfind("/") + 1]
    beside = [folder + name for name in BESIDE_GGUF]
    return [by_name[name] for name in (*parts, *beside) if name in by_name]


def _choose(problem: str, choices: Sequence[GGUFChoice]) -> InvalidParams:
    some = ", ".join(f"{each.gguf_file[:_MAX_NAME_CHARS]} ({_size(each)})" for each in choices[:_MAX_IN_SENTENCE])
    more = f" and {len(choices) - _MAX_IN_SENTENCE} more" if len(choices) > _MAX_IN_SENTENCE else ""
    instead = "; choose one with gguf_file" if not problem.endswith("?") else " choose one with gguf_file"
    return InvalidParams(
        f"{problem}{instead}: {some}{more}",
        {
            "field": "gguf_file",
            "gguf_files": [
                {"gguf_file": each.gguf_file[:_MAX_NAME_CHARS], "size_bytes": each.size_bytes}
                for each in choices[:_MAX_LISTED]
            ],
        },
    )


def _size(choice: GGUFChoice) -> str:
    return f"{choice.size_bytes / 1e9:.1f} GB" if choice.size_bytes >= 1e8 else f"{choice.size_bytes / 1e6:.1f} MB"


def _nearest(gguf_file: str, choices: Sequence[GGUFChoice]) -> str | None:
    """What was meant: the only name that holds all of it (`q4_k_m`), or one that is spelled much like it."""
    names = {each.gguf_file[:_MAX_NAME_CHARS]: each.gguf_file.lower() for each in choices[:_MAX_LISTED]}
    holding = [name for name, lower in names.items() if gguf_file.lower().removesuffix(SUFFIX) in lower]
    if len(holding) == 1:
        return holding[0]
    return next(iter(difflib.get_close_matches(gguf_file[:_MAX_NAME_CHARS], names, n=1)), None)


def _is_gguf(name: str) -> bool:
    return name.lower().endswith(SUFFIX)


def _is_wanted(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns) and not name.lower().endswith(NEVER_FETCHED)
