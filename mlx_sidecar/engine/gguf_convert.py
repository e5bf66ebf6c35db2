"""A GGUF file as an MLX folder: the network that the worker would run, written with mlx-lm's names.

The folder is written beside its place, and renamed when it is whole and has passed the check of a load.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlx_sidecar.engine.memory import Budget
from mlx_sidecar.engine.mlx_lm_import import import_mlx_lm
from mlx_sidecar.errors import DestinationInvalid, DiskFull
from mlx_sidecar.models import directory
from mlx_sidecar.models.gguf import model_file
from mlx_sidecar.models.gguf.model_file import ModelFile

if TYPE_CHECKING:
    import mlx.core as mx

_SHARD_BYTES = 5 * 10**9
"""As mlx-lm cuts them."""


def convert(file: Path, folder: Path) -> Generator[float, None, int]:
    """Write the folder; yields the part that is read, 0 to 1, and returns the bytes written. Raises SidecarError."""
    _refuse_taken(folder)
    model = model_file.check(file)
    with _written_aside(folder) as aside:
        files = _settings(model)
        network, config = yield from _network(model, aside)
        texts = {**files, "config.json": json.dumps({**config, **json.loads(files["config.json"])}, indent=2)}
        _write_weights(network, aside)
        for name, text in texts.items():
            _write(aside / name, text.encode())
        directory.check(aside)
        written = sum(each.stat().st_size for each in aside.iterdir())
    return written


def _refuse_taken(folder: Path) -> None:
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise DestinationInvalid(f"'{folder}' is a file or a link; give a folder that isn't there yet")
    if folder.is_dir() and any(folder.iterdir()):
        raise DestinationInvalid(f"'{folder}' isn't empty; give a folder that isn't there yet, or an empty one")


@contextlib.contextmanager
def _written_aside(folder: Path) -> Iterator[Path]:
    """A new folder beside that one, which becomes it where nothing fails, and goes otherwise."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{folder.name[:100]}.", dir=folder.parent))
    except OSError as error:
        raise DestinationInvalid(f"'{folder}' can't be written: {error.strerror or error}") from None
    try:
        yield aside
        umask = os.umask(0o022)
        os.umask(umask)
        aside.chmod(0o777 & ~umask)
        # Takes the place of an empty folder, and of nothing else.
        aside.rename(folder)
    except OSError as error:
        raise DestinationInvalid(f"'{folder}' can't be written: {error.strerror or error}") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _settings(model: ModelFile) -> dict[str, str]:
    """All files but the weights; config.json without what becomes of the tensors."""
    from mlx_sidecar.engine import gguf_tokenizer

    tokenizer = gguf_tokenizer.load(model.files.header)
    files = gguf_tokenizer.folder_files(tokenizer)
    ends = {"eos_token_id": sorted(tokenizer.eos_ids)}
    files["config.json"] = json.dumps({**model.config, **ends})
    files["generation_config.json"] = json.dumps(ends, indent=2)
    return files


def _network(model: ModelFile, folder: Path) -> Generator[float, None, tuple[Any, dict[str, Any]]]:
    """With its weights read, and how config.json states their quantization. Raises SidecarError."""
    import_mlx_lm()
    from mlx.utils import tree_flatten

    from mlx_sidecar.engine import gguf_network

    network, weights = gguf_network.build(model)
    size = sum(weight.nbytes for _, weight in tree_flatten(network.parameters()))
    Budget(None).check(size, "the model needs {} to be converted")
    _check_disk(size, folder)
    yield from weights.read(network)
    return network, _quantization(network)


def _check_disk(size: int, folder: Path) -> None:
    usage = shutil.disk_usage(folder)
    # Some network file systems don't know how large they are.
    if size > usage.free and (usage.total or usage.free):
        raise DiskFull(
            f"the folder takes {size / 1e9:.1f} GB, and its disk has {usage.free / 1e9:.1f} GB free; make room",
            {"needed_bytes": size, "free_bytes": usage.free},
        )


def _quantization(network: Any) -> dict[str, Any]:
    """As mlx-lm reads it: the commonest format, and the modules that have another. Empty where nothing is quantized."""
    formats = {
        path: {"group_size": part.group_size, "bits": part.bits, "mode": part.mode}
        for path, part in network.named_modules()
        if hasattr(part, "bits") and hasattr(part, "group_size")
    }
    if not formats:
        return {}
    commonest = json.loads(Counter(json.dumps(each) for each in formats.values()).most_common(1)[0][0])
    stated = {**commonest, **{path: each for path, each in formats.items() if each != commonest}}
    return {"quantization": stated, "quantization_config": stated}


def _write_weights(network: Any, folder: Path) -> None:
    import mlx.core as mx
    from mlx.utils import tree_flatten

    shards = _shards(dict(tree_flatten(network.parameters())))
    names = ["model.safetensors"]
    if len(shards) > 1:
        names = [f"model-{number:05}-of-{len(shards):05}.safetensors" for number in range(1, len(shards) + 1)]
    for name, shard in zip(names, shards, strict=True):
        try:
            mx.save_safetensors(str(folder / name), shard, metadata={"format": "mlx"})
        except RuntimeError as error:
            # MLX doesn't say why.
            raise DiskFull(f"{name} can't be written, the disk may be full: {error}") from None
        with (folder / name).open("rb+") as written:
            os.fsync(written.fileno())
    if len(shards) > 1:
        weight_map = {weight: name for name, shard in zip(names, shards, strict=True) for weight in shard}
        _write(folder / "model.safetensors.index.json", json.dumps({"weight_map": weight_map}, indent=2).encode())


def _shards(weights: dict[str, mx.array]) -> list[dict[str, mx.array]]:
    shards, size = [dict[str, "mx.array"]()], 0
    for name, weight in weights.items():
        if size + weight.nbytes > _SHARD_BYTES and shards[-1]:
            shards, size = [*shards, {}], 0
        shards[-1][name] = weight
        size += weight.nbytes
    return shards


def _write(path: Path, data: bytes) -> None:
    with path.open("xb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
