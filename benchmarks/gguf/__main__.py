"""`python -m benchmarks.gguf perplexity FILE`, `agreement FILE NODE_MODULES`, `load FILE FOLDER`, `requantize …`."""

from __future__ import annotations

import argparse
import math
import resource
import statistics
import subprocess
import sys
from pathlib import Path

import gguf
import mlx.core as mx


def _perplexity(wanted: argparse.Namespace) -> None:
    """As the engine holds the file, with scales of 16 bits, and as floats that the gguf package makes."""
    from benchmarks.gguf import measure

    loaded = measure.Loaded(wanted.file)
    tokens = measure.text(loaded.tokenizer, wanted.tokens)
    held = loaded.perplexity(tokens)
    print(f"{wanted.file.name}: {len(tokens)} tokens; {held:.4f} as held")
    print(
        f"  {loaded.held_bytes} bytes, {loaded.held_bytes / loaded.model.weight_bytes:.3f} of the tensors' in the file"
    )
    rounded = {}
    for kind in (mx.float16, mx.bfloat16):
        with measure.rounded_scales(kind):
            rounded[str(kind)] = measure.Loaded(wanted.file).perplexity(tokens)
    with measure.dequantized():
        exact = measure.Loaded(wanted.file).perplexity(tokens)
    print(f"  {exact:.4f} dequantized; as held {held / exact - 1:+.4%}")
    for name, one in rounded.items():
        print(f"  scales rounded to {name}: {one / exact - 1:+.4%}")


def _agreement(wanted: argparse.Namespace) -> None:
    """Greedy continuations against llama.cpp's, and how near its two likeliest tokens are where they part."""
    from benchmarks.gguf import measure
    from benchmarks.gguf.llama_cpp import continuations

    loaded = measure.Loaded(wanted.file)
    prompts = measure.prompts(loaded.tokenizer)
    asked = wanted.floats or wanted.file
    theirs = continuations(asked, prompts, wanted.steps, wanted.node_modules)
    gaps = []
    for prompt, their in zip(prompts, theirs, strict=True):
        ours = loaded.greedy(prompt, len(their.tokens))
        if ours != their.tokens:
            step = next(n for n, (one, other) in enumerate(zip(ours, their.tokens, strict=True)) if one != other)
            first, second = their.tops[step][:2]
            gaps.append(math.log(first[1]) - math.log(second[1]))
    print(f"{wanted.file.name} against {asked.name} in llama.cpp, {wanted.steps} tokens each:")
    print(f"  {len(prompts) - len(gaps)} of {len(prompts)} the same")
    print(f"  llama.cpp's first two where they part, in log probability: {[round(gap, 4) for gap in sorted(gaps)]}")


def _load(wanted: argparse.Namespace) -> None:
    """CPU time of loading the file and a folder, each in a process of its own, in turn."""
    taken: dict[str, list[float]] = {"file": [], "folder": []}
    for _ in range(wanted.pairs):
        for name, path in (("file", wanted.file), ("folder", wanted.folder)):
            command = [sys.executable, "-m", "benchmarks.gguf", "_loading", str(path)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
            cpu_s, wall_s = map(float, done.stdout.split())
            taken[name].append(cpu_s)
            print(f"  {name}: {cpu_s:.2f} s of CPU, {wall_s:.2f} s")
    ratios = [one / other for one, other in zip(taken["file"], taken["folder"], strict=True)]
    print(
        f"the file takes {statistics.median(ratios):.2f} times the folder's CPU time "
        f"({min(ratios):.2f} to {max(ratios):.2f})"
    )


def _loading(wanted: argparse.Namespace) -> None:
    """What the engine does for load-model; prints the CPU's seconds and the clock's."""
    import time

    from mlx_sidecar.engine.engine import Engine
    from mlx_sidecar.engine.plan import plan

    began, used = time.monotonic(), sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    for _ in Engine(max_rows=1, prefix_cache_bytes=0).load(plan(wanted.file, "m", None, 1024)):
        pass
    print(sum(resource.getrusage(resource.RUSAGE_SELF)[:2]) - used, time.monotonic() - began)


def _requantize(wanted: argparse.Namespace) -> None:
    """Write a file's matrices anew in another type, as the gguf package quantizes."""
    kind = gguf.GGMLQuantizationType[wanted.type]
    reader = gguf.GGUFReader(wanted.file)
    writer = gguf.GGUFWriter(wanted.out, reader.fields["general.architecture"].contents())
    for name, one in reader.fields.items():
        if not name.startswith("GGUF.") and name not in ("general.architecture", "general.file_type"):
            sub = one.types[-1] if one.types[0] == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(name, one.contents(), one.types[0], sub)
    writer.add_file_type(gguf.LlamaFileType["ALL_F32" if wanted.type == "F32" else f"MOSTLY_{wanted.type}"])
    for tensor in reader.tensors:
        numbers = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        if len(tensor.shape) > 1:
            writer.add_tensor(tensor.name, gguf.quants.quantize(numbers, kind), raw_dtype=kind)
        else:
            writer.add_tensor(tensor.name, numbers)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gguf")
    commands = parser.add_subparsers(required=True)
    for name, run, more in (
        ("perplexity", _perplexity, ()),
        ("agreement", _agreement, ("node_modules",)),
        ("load", _load, ("folder",)),
        ("_loading", _loading, ()),
        ("requantize", _requantize, ("type", "out")),
    ):
        command = commands.add_parser(name)
        command.add_argument("file", type=Path)
        for one in more:
            command.add_argument(one, type=str if one == "type" else Path)
        command.add_argument("--tokens", type=int, default=2048)
        command.add_argument("--steps", type=int, default=32)
        command.add_argument("--pairs", type=int, default=3)
        # llama.cpp rounds to 8 bits what it multiplies quantized matrices with; `requantize` to F32 spares it that.
        command.add_argument("--floats", type=Path, help="agreement: llama.cpp reads this file, the same in F32")
        command.set_defaults(run=run)
    wanted = parser.parse_args()
    wanted.run(wanted)


if __name__ == "__main__":
    main()
