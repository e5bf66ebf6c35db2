"""node-llama-cpp, by way of a script that speaks lines of JSON."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.quality.answers import Answer, tags_in

_SCRIPT = Path(__file__).with_name("node_llama_cpp.mjs")
PACKAGE = "node-llama-cpp"


class NotThere(Exception):
    """A system that can't run here, and what to do about it."""


@dataclass(frozen=True)
class Prompt:
    """One prompt; with a schema the answer is held to its grammar."""

    document: str
    task: str
    prompt: str
    schema: dict[str, Any] | None
    max_tokens: int
    max_tags: int


def asked(given: Sequence[Prompt], gguf: Path, node_modules: Path) -> tuple[list[Answer], float]:
    """The answers, and the seconds they took without loading. Raises NotThere."""
    _check(node_modules)
    read = list[dict[str, Any]]()
    with tempfile.TemporaryFile() as prompts:
        prompts.write(b"".join(json.dumps(asdict(prompt)).encode() + b"\n" for prompt in given))
        prompts.seek(0)
        command = ["node", str(_SCRIPT), str(node_modules.absolute()), str(gguf)]
        process = subprocess.Popen(command, stdin=prompts, stdout=subprocess.PIPE)
        assert process.stdout is not None
        # The library prints lines of its own, too.
        for line in process.stdout:
            if line.startswith(b"{"):
                read.append(json.loads(line))
                print(
                    f"  {len(read)} of {len(given)} answers, {read[-1]['seconds']:.1f} s", file=sys.stderr, flush=True
                )
        code = process.wait()
    if code or len(read) != len(given):
        raise NotThere(f"{PACKAGE} ended with {code} after {len(read)} of {len(given)} answers")
    answers = [_answer(prompt, line) for prompt, line in zip(given, read, strict=True)]
    return answers, sum(line["seconds"] for line in read)


def _check(node_modules: Path) -> None:
    if shutil.which("node") is None:
        raise NotThere(f"{PACKAGE} needs Node 20 or newer")
    if not (node_modules / PACKAGE).is_dir():
        raise NotThere(
            f"{PACKAGE} isn't in {node_modules}: npm install --prefix FOLDER {PACKAGE}, and give "
            "--node-modules FOLDER/node_modules"
        )


def _answer(prompt: Prompt, line: dict[str, Any]) -> Answer:
    if "error" in line:
        print(f"  {prompt.document}: {line['error']}", file=sys.stderr)
        return Answer(prompt.document, prompt.task, "", error=line["error"])
    text: str = line["text"]
    return Answer(
        prompt.document,
        prompt.task,
        text,
        tags_in(text, prompt.max_tags) if prompt.task == "tags" else (),
        line["usage"],
    )
