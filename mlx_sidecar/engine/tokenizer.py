"""A model's tokenizer: text to tokens and back, its special tokens, its chat template's text.

Two ways in. Where tokenizer.json alone says how to encode, it is read straight
with `tokenizers`, which spares the import of transformers (over a second).
Where transformers would build something else from the folder, transformers
builds it. Both end as the same `tokenizers.Tokenizer`; a test holds them to
encoding alike.

`tokenizers` reads tokenizer.json alone for a generic tokenizer class with a model type that transformers has no class
of its own for, and for Qwen2's class with Qwen2's very pipeline. transformers 5 replaces the tokenizer for some model
types whatever the folder says (qwen2, phi3 …); tests compare with mlx_lm's own encoding (2026-11-21).

llguidance writes forced text in the tokenizer's own tokens, so a choice that is called `<|im_end|>` became the end
token. It is therefore given the tokenizer with other names for the markers (`without_markers`). These names are
random (2026-11-26), because any fixed name can stand in a text.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import tokenizers

from mlx_sidecar.engine.panics import BlamedOnTokenizer, is_panic
from mlx_sidecar.errors import ModelInvalid, ModelUnsupported
from mlx_sidecar.models import directory
from mlx_sidecar.models.directory import ModelDirectory
from mlx_sidecar.models.files import MOST_SETTINGS_BYTES, MOST_TOKENIZER_BYTES, read_file

_GENERIC_CLASSES = {"PreTrainedTokenizerFast", "TokenizersBackend"}

# transformers 5 builds the tokenizer of these model types from tokenizer.json as it stands, if the
# folder asks for a generic class; for others (qwen2, phi3 …) it may put a class of its own in place.
_VERBATIM_MODEL_TYPES = {"llama", "qwen3", "qwen3_moe", "gemma3_text", "mamba", "granite", "olmo2", "lfm2"}

_QWEN2_CLASSES = {"Qwen2Tokenizer", "Qwen2TokenizerFast"}
_QWEN2_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)

_NAMED_SPECIALS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")

# The pairs that mlx_lm.tokenizer_utils knows, version 0.32.
_THINK_MARKS = (
    ("<think>", "</think>"),
    ("<longcat_think>", "</longcat_think>"),
    ("<|think:start|>", "<|think:end|>"),
    ("<|channel>thought", "<channel|>"),
)

Renderer = Callable[..., str]


@dataclass(frozen=True)
class ThinkMarks:
    """What opens and closes a model's reasoning; the opening's first token, if that is known."""

    start: str
    end: str
    opening_id: int | None = None


@dataclass(frozen=True)
class TemplateText:
    """A chat template's Jinja text, and the file of the model's folder in which it stands."""

    text: str
    source: str


class Tokenizer:
    """Encodes and decodes for one model.

    `specials` maps names such as "bos_token" to their text; `template` is the
    chat template, if there is one; `renderer` replaces it for the few models
    whose template is code that mlx_lm brings. `begins_with_bos` says that a
    conversation begins with BOS also where the template doesn't write it.
    """

    def __init__(
        self,
        backend: tokenizers.Tokenizer,
        specials: dict[str, str],
        eos_ids: frozenset[int],
        template: TemplateText | None,
        renderer: Renderer | None = None,
        *,
        begins_with_bos: bool = False,
    ) -> None:
        self.begins_with_bos = begins_with_bos
        self.backend, self.specials, self.eos_ids = backend, specials, eos_ids
        self.template = template.text if template else None
        self.renderer = renderer
        self.template_source = "mlx-lm" if renderer else template.source if template else None
        backend.no_padding()
        backend.no_truncation()

    def encode(self, text: str, *, add_special_tokens: bool = False) -> list[int]:
        """Tokens of a text; with `add_special_tokens`, what the tokenizer puts around every text as well."""
        return list(self.encoding(text, add_special_tokens=add_special_tokens).ids)

    def encoding(self, text: str, *, add_special_tokens: bool = False) -> tokenizers.Encoding:
        """The same, with the places of the tokens in the text. Raises ModelInvalid where the tokenizer breaks down."""
        with BlamedOnTokenizer():
            return self.backend.encode(text, add_special_tokens=add_special_tokens)

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of tokens, special ones included."""
        with BlamedOnTokenizer():
            return str(self.backend.decode(list(tokens), skip_special_tokens=False))

    @cached_property
    def added(self) -> dict[int, tokenizers.AddedToken]:
        """The tokens that are matched as a whole before anything else, by id."""
        return dict(self.backend.get_added_tokens_decoder())

    @cached_property
    def marker_ids(self) -> frozenset[int]:
        """Added tokens that mean something to the model beside their text: what a document must not contain."""
        return frozenset(i for i, token in self.added.items() if len(token.content.strip(" \n\t\u2581")) > 1)

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Added tokens that are no text at all."""
        return frozenset(i for i, token in self.added.items() if token.special)

    @cached_property
    def marker_names(self) -> dict[int, str]:
        """Another name for each marker, which no text holds."""
        # A text may hold any characters, but not what was drawn after the program was written.
        drawn = os.urandom(16).hex()
        return {token: f"\ue000{drawn}{token}\ue001" for token in self.marker_ids}

    @cached_property
    def without_markers(self) -> str:
        """The tokenizer's JSON with the other names for its markers, so that all other text is plain text."""
        described = json.loads(self.backend.to_str())
        names = {token["content"]: self.marker_names[token["id"]] for token in self._markers_of(described)}
        for token in self._markers_of(described):
            token.update(content=names[token["content"]], special=True, normalized=False)
        known = described["model"]["vocab"]
        if isinstance(known, dict):
            described["model"]["vocab"] = {names.get(text, text): token for text, token in known.items()}
        else:
            described["model"]["vocab"] = [[names.get(text, text), score] for text, score in known]
        if described["model"].get("unk_token") in names:
            described["model"]["unk_token"] = names[described["model"]["unk_token"]]
        return json.dumps({**described, "post_processor": None})

    def _markers_of(self, described: dict[str, Any]) -> list[dict[str, Any]]:
        return [token for token in described["added_tokens"] if token["id"] in self.marker_ids]

    @cached_property
    def think_marks(self) -> ThinkMarks | None:
        """How this model marks its reasoning, if it knows any marks."""
        vocabulary = self.backend.get_vocab(with_added_tokens=True)
        for start, end in _THINK_MARKS:
            if end in vocabulary and start.removesuffix("thought") in vocabulary:
                return ThinkMarks(start, end, vocabulary[start.removesuffix("thought")])
        return None


def load(folder: ModelDirectory, eos_ids: frozenset[int], defaults: dict[str, Any]) -> Tokenizer:
    """The tokenizer of a checked folder.

    `eos_ids` are the model's own, `defaults` the tokenizer settings that mlx_lm
    keeps for the model type. Raises ModelInvalid or ModelUnsupported.
    """
    if not defaults and (backend := _read_verbatim(folder)):
        specials = _named_specials(folder)
        template = _template(folder.path, folder.tokenizer_config.get("chat_template"))
        renderer = None
    else:
        backend, specials, template, renderer = _through_transformers(folder, defaults)
    eos = backend.token_to_id(specials["eos_token"]) if "eos_token" in specials else None
    return Tokenizer(backend, specials, eos_ids | ({eos} if eos is not None else set()), template, renderer)


def _read_verbatim(folder: ModelDirectory) -> tokenizers.Tokenizer | None:
    """tokenizer.json as it stands, or None where transformers would make something else of the folder."""
    file = folder.path / "tokenizer.json"
    settings = folder.tokenizer_config
    kind = settings.get("tokenizer_class")
    generic = kind in _GENERIC_CLASSES and folder.model_type in _VERBATIM_MODEL_TYPES
    if not file.exists() or not (generic or kind in _QWEN2_CLASSES):
        return None
    changes = ("add_bos_token", "add_eos_token", "split_special_tokens", "add_prefix_space", "chat_template_type")
    if any(settings.get(name) for name in changes):
        return None
    raw = directory.read_json(file, MOST_TOKENIZER_BYTES)
    if kind in _QWEN2_CLASSES and not _is_qwen2(raw):
        return None
    backend = _parse(file)
    known = {token.content: i for i, token in backend.get_added_tokens_decoder().items()}
    declared = settings.get("added_tokens_decoder") or {}
    named = [_text(settings.get(name)) for name in _NAMED_SPECIALS]
    named += [_text(t) for t in settings.get("extra_special_tokens") or settings.get("additional_special_tokens") or ()]
    same = all(str(known.get(_text(token) or "")) == number for number, token in declared.items())
    return backend if same and all(text in known for text in named if text) else None


def _is_qwen2(raw: dict[str, Any]) -> bool:
    """Whether tokenizer.json says what transformers' Qwen2Tokenizer would build."""
    split = {"type": "Split", "pattern": {"Regex": _QWEN2_PATTERN}, "behavior": "Isolated", "invert": False}
    steps = (raw.get("pre_tokenizer") or {}).get("pretokenizers") or []
    byte_level = len(steps) == 2 and steps[1].get("type") == "ByteLevel"
    plain = byte_level and not steps[1].get("add_prefix_space") and not steps[1].get("use_regex", True)
    model = raw.get("model") or {}
    options = ("dropout", "unk_token", "fuse_unk", "byte_fallback", "ignore_merges")
    return bool(
        plain
        and steps[0] == split
        and raw.get("normalizer") == {"type": "NFC"}
        and model.get("type") == "BPE"
        and not any(model.get(option) for option in options)
    )


def _parse(file: Path) -> tokenizers.Tokenizer:
    try:
        return tokenizers.Tokenizer.from_file(str(file))
    except BaseException as error:  # the library raises plain Exception, or panics
        if not isinstance(error, Exception) and not is_panic(error):
            raise
        raise ModelInvalid(f"{file} can't be read: {error}", {"file": file.name}) from None


def _named_specials(folder: ModelDirectory) -> dict[str, str]:
    named = {name: _text(folder.tokenizer_config.get(name)) for name in _NAMED_SPECIALS}
    return {name: text for name, text in named.items() if text}


def _text(token: Any) -> str | None:
    """A special token's text: tokenizer_config.json writes it plain or as an object."""
    content = token.get("content") if isinstance(token, dict) else token
    return content if isinstance(content, str) else None


def _template(path: Path, configured: Any) -> TemplateText | None:
    """The chat template, where transformers' tokenizers look for it, and else where its processors do."""
    file = path / "chat_template.jinja"
    if file.exists():
        try:
            return TemplateText(read_file(file, MOST_SETTINGS_BYTES).decode("utf-8"), file.name)
        except (OSError, ValueError) as error:
            raise ModelInvalid(f"{file} can't be read: {error}", {"file": file.name}) from None
    if (text := _default_template(configured)) is not None:
        return TemplateText(text, "tokenizer_config.json")
    file = path / "chat_template.json"
    if file.exists() and (text := _default_template(directory.read_json(file).get("chat_template"))) is not None:
        return TemplateText(text, file.name)
    return None


def _default_template(configured: Any) -> str | None:
    """Of several, the one named default."""
    if isinstance(configured, list):
        configured = {entry.get("name"): entry.get("template") for entry in configured if isinstance(entry, dict)}
    if isinstance(configured, dict):
        configured = configured.get("default")
    return configured if isinstance(configured, str) else None


def _through_transformers(
    folder: ModelDirectory, defaults: dict[str, Any]
) -> tuple[tokenizers.Tokenizer, dict[str, str], TemplateText | None, Renderer | None]:
    from transformers import AutoTokenizer

    try:
        made = AutoTokenizer.from_pretrained(folder.path, trust_remote_code=False, local_files_only=True)
    except BaseException as error:  # anything at all: it builds from files that may hold anything
        if not isinstance(error, Exception) and not is_panic(error):
            raise
        reason = f"{folder.path} has a tokenizer that can't be loaded: {error}"
        raise ModelInvalid(reason, {"file": "tokenizer.json"}) from None
    backend = getattr(made, "backend_tokenizer", None)
    if not isinstance(backend, tokenizers.Tokenizer):
        raise ModelUnsupported(f"{folder.path} has a tokenizer without a fast form ({type(made).__name__})")
    if backend.get_vocab_size() <= 1:
        raise ModelInvalid(f"{folder.path} has no usable tokenizer", {"file": "tokenizer.json"})
    specials = {name: str(text) for name, text in made.special_tokens_map.items() if isinstance(text, str)}
    template = _template(folder.path, made.chat_template)
    kind = folder.tokenizer_config.get("chat_template_type") or (
        defaults.get("chat_template_type") if template is None else None
    )
    return backend, specials, template, _code_renderer(kind) if kind else None


def _code_renderer(kind: str) -> Renderer:
    """The few templates that mlx_lm brings as code of its own."""
    import importlib

    if not kind.isidentifier():
        raise ModelInvalid(f"tokenizer_config.json names an impossible chat_template_type: {kind!r}")
    try:
        module = importlib.import_module(f"mlx_lm.chat_templates.{kind}")
    except ImportError:
        raise ModelUnsupported(f"mlx-lm has no chat template named {kind!r}") from None
    renderer: Renderer = module.apply_chat_template
    return renderer
