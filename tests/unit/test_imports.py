"""What loading a model imports: start-up time is a feature, and mlx_lm mustn't be able to reach the network."""

from __future__ import annotations

from tests.support.programs import run_program

LOAD = """
import sys
from pathlib import Path
from mlx_sidecar.models.resolve import DEMO_FOLDER
from mlx_sidecar.engine.engine import Engine
from mlx_sidecar.engine.plan import plan

engine = Engine(max_rows=1, prefix_cache_bytes=0)
for _ in engine.load(plan(DEMO_FOLDER, "demo", None, None)):
    pass
assert engine.facts is not None and "mlx_lm" in sys.modules
print(*sorted({"transformers", "huggingface_hub", "torch"} & sys.modules.keys()))
"""


def test_a_model_is_loaded_without_what_the_worker_does_not_use_of_mlx_lm() -> None:
    """Neither transformers nor the hub's library, in a process in which nothing else has imported them."""
    done = run_program(LOAD)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "", "")
