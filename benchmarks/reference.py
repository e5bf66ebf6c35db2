"""What mlx-lm does when it is called directly: a child process of the benchmarks. Lines of JSON in and out.

Each answer holds the seconds that the work itself took, measured where it was done.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

from mlx_lm import load, stream_generate
from mlx_lm.generate import BatchGenerator

Answer = dict[str, Any]


class Reference:
    """mlx-lm with one model."""

    def __init__(self, path: str) -> None:
        self._model, self._tokenizer = load(path)

    def stream(self, prompt: str, max_tokens: int) -> Answer:
        """`stream_generate`: seconds to the first token, and from there to the last."""
        tokens, begun, first, count = self._tokens(prompt), time.perf_counter(), 0.0, 0
        for response in stream_generate(self._model, self._tokenizer, tokens, max_tokens=max_tokens):
            count += 1
            first = first or time.perf_counter()
            assert response.text is not None
        return {"first_s": first - begun, "decode_s": time.perf_counter() - first, "tokens": count}

    def batch(self, prompts: list[str], max_tokens: int) -> Answer:
        """`BatchGenerator` as `batch_generate` calls it, with the text of each row as it comes."""
        tokens = [self._tokens(prompt) for prompt in prompts]
        begun = time.perf_counter()
        generator = BatchGenerator(self._model, stop_tokens=[[t] for t in self._tokenizer.eos_token_ids])
        texts: dict[int, Any] = {}
        for uid in generator.insert(tokens, [max_tokens] * len(tokens)):
            texts[uid] = self._tokenizer.detokenizer  # a new one each time
        count, running = 0, len(texts)
        while running:
            for response in generator.next_generated():
                count += 1
                texts[response.uid].add_token(response.token)
                running -= response.finish_reason is not None
        generator.close()
        return {"total_s": time.perf_counter() - begun, "tokens": count}

    def late(self, document: str, prompt: str, wait_s: float) -> Answer:
        """A short prompt that comes `wait_s` after a long one, whose prefill isn't cut into pieces."""
        long, short = self._tokens(document), self._tokens(prompt)
        generator = BatchGenerator(self._model, prefill_step_size=len(long), prefill_batch_size=1)
        generator.insert([long], [2])
        arrived = time.perf_counter() + wait_s
        uid = None
        while True:
            _, responses = generator.next()
            if any(response.uid == uid for response in responses):
                break
            if uid is None and time.perf_counter() >= arrived:
                (uid,) = generator.insert([short], [1])
        generator.close()
        return {"first_s": time.perf_counter() - arrived}

    def _tokens(self, prompt: str) -> list[int]:
        turns = [{"role": "user", "content": prompt}]
        tokens: list[int] = self._tokenizer.apply_chat_template(turns, add_generation_prompt=True)
        return tokens


def main() -> None:
    """Answer until stdin ends."""
    reference = Reference(sys.argv[1])
    does: dict[str, Callable[..., Answer]] = {
        "stream": reference.stream,
        "batch": reference.batch,
        "late": reference.late,
    }
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(does[request.pop("do")](**request)), flush=True)


if __name__ == "__main__":
    main()
