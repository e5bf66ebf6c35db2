"""Settings by the names that llama.cpp, llama-cpp-python, Ollama and transformers give them, and what stands for them.

Fields of requests and flags alike: `n_ctx` is the field, `--n-ctx` the flag.
"""

from __future__ import annotations

_OUR_NAMES = {
    "context_length": ("n_ctx", "num_ctx", "ctx_size", "max_seq_len", "max_model_len"),
    "max_tokens": ("n_predict", "num_predict", "max_new_tokens", "max_length"),
    "repetition_penalty": ("repeat_penalty",),
    "temperature": ("temp",),
    "stop": ("stop_words", "stop_strings", "stop_sequences"),
    "schema": ("json_schema", "response_format", "grammar"),
    "system": ("system_prompt",),
    "adapter_path": ("lora", "lora_path"),
    "model_path": ("model_dir", "model_file"),
    "repo_id": ("hf_repo", "model_id", "repo"),
    "gguf_file": ("hf_file", "filename"),
    "destination": ("local_dir",),
    "allow_patterns": ("include",),
    "max_concurrency": ("n_parallel", "parallel"),
    "model": ("m",),
    "log_level": ("verbose", "log_verbosity"),
}
OUR_NAME = {other: ours for ours, others in _OUR_NAMES.items() for other in others}

_REASONS = {
    "MLX chooses the threads itself": ("n_threads", "threads", "num_thread", "n_threads_batch", "threads_batch"),
    "prompts are always read in pieces of 256 tokens": (
        "n_batch",
        "n_ubatch",
        "batch_size",
        "ubatch_size",
        "num_batch",
    ),
    "the whole model runs on the one device that check-availability names": (
        *("n_gpu_layers", "gpu_layers", "num_gpu", "main_gpu", "split_mode", "tensor_split", "offload_kqv"),
    ),
    "weights are read into memory once and stay there": ("use_mmap", "no_mmap", "use_mlock", "mlock", "numa"),
    "MLX's own attention is always used": ("flash_attn",),
    "the model's own chat template is always used": ("chat_format", "chat_template", "chat_template_file", "jinja"),
    "the model's own settings are always used": (
        *("rope_freq_base", "rope_freq_scale", "rope_scaling", "rope_scaling_type"),
    ),
    "there are top_p, top_k and min_p": (
        *("typical_p", "typical", "tfs_z", "tfs", "mirostat", "mirostat_mode", "mirostat_tau", "mirostat_eta"),
    ),
}
NOT_A_SETTING = {other: reason for reason, others in _REASONS.items() for other in others}
"""Why there is nothing to set."""

_SHORT_FLAGS = {
    "c": "ctx_size",
    "t": "threads",
    "n": "n_predict",
    "b": "batch_size",
    "ngl": "n_gpu_layers",
    "fa": "flash_attn",
}


def name_of_flag(flag: str) -> str:
    """`--n-ctx=4096`, `--n-ctx` and `-c` as the fields that they are called after."""
    name = flag.lstrip("-").partition("=")[0]
    return _SHORT_FLAGS.get(name, name) if not flag.startswith("--") else name.replace("-", "_")
