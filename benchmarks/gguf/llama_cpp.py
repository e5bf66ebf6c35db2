"""What llama.cpp says, by way of node-llama-cpp."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct
from msgspec import json as msgspec_json

_SCRIPT = Path(__file__).with_name("llama_cpp.mjs")


class Continuation(Struct, frozen=True):
    """Greedy tokens, and of each step the likeliest with their probabilities."""

    tokens: list[int]
    tops: list[list[tuple[int, float]]]


def continuations(gguf: Path, prompts: Sequence[Sequence[int]], steps: int, node_modules: Path) -> list[Continuation]:
    """One for each prompt, which are tokens. Raises CalledProcessError."""
    command = ["node", str(_SCRIPT), str(node_modules.absolute()), str(gguf), str(steps)]
    asked = "".join(json.dumps(list(prompt)) + "\n" for prompt in prompts)
    # What is preloaded for MLX (a BLAS) keeps node from starting threads.
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    done = subprocess.run(command, input=asked.encode(), stdout=subprocess.PIPE, check=True, env=environment)
    return [msgspec_json.decode(line, type=Continuation) for line in done.stdout.splitlines() if line.startswith(b"{")]
