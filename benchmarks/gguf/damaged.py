"""2,000 damaged GGUF files for one worker: each is answered with one error, how fast and in how much memory.

    python -m benchmarks.gguf.damaged [COUNT]

`tests/support/gguf_damage.py` makes the files; those whose damage is in a name or a text may load.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.support.gguf_damage import damaged
from tests.support.worker import Worker

_COUNT = 2000


def main(count: int) -> None:
    """Print the codes, the slowest answer and the growth of the worker."""
    codes: Counter[str] = Counter()
    slowest, slowest_name = 0.0, ""
    with tempfile.TemporaryDirectory() as folder, Worker("--model", "demo") as it:
        it.demand({"command": "generate", "prompt": "x", "max_tokens": 2})
        before = most = it.demand({"command": "status"})["memory_bytes"]
        for seed in range(count):
            name, data = damaged(seed)
            path = Path(folder) / f"{name}.gguf"
            path.write_bytes(data)
            began = time.perf_counter()
            line = it.ask({"command": "load-model", "model_path": str(path)})
            took = time.perf_counter() - began
            path.unlink()
            codes[line.get("code", "loaded")] += 1
            if line["type"] == "response":
                it.demand({"command": "load-model", "model_path": "demo"})
            if took > slowest:
                slowest, slowest_name = took, name
            most = max(most, it.demand({"command": "status"})["memory_bytes"])
        it.demand({"command": "generate", "prompt": "x", "max_tokens": 2})
    print(f"{count} files: {dict(codes)}")
    print(f"slowest {slowest:.3f} s ({slowest_name}); memory grew by {(most - before) / 1e6:.1f} MB at most")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else _COUNT)
