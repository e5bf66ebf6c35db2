"""What a repository's headers say of a model's memory: config.json and the first bytes of its weights, by `Range`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn

from mlx_sidecar.engine import estimate
from mlx_sidecar.engine.estimate import ModelSizes
from mlx_sidecar.errors import HubError, ModelInvalid
from mlx_sidecar.hub.api import address_of, ask_for_plan
from mlx_sidecar.hub.failures import RetryableError, error_from_response
from mlx_sidecar.hub.http_client import HttpClient
from mlx_sidecar.hub.messages import DownloadRequest, SizesRequest
from mlx_sidecar.hub.plan import Plan, PlannedFile
from mlx_sidecar.models import counts, safetensors
from mlx_sidecar.models.files import MOST_HEADER_BYTES, MOST_SETTINGS_BYTES, MOST_TENSOR_VALUES, parse_json
from mlx_sidecar.models.gguf import files as gguf_files
from mlx_sidecar.models.gguf.cursor import MoreBytesNeeded
from mlx_sidecar.models.gguf.header import GGUFHeader, parse_header
from mlx_sidecar.models.gguf.model_file import ModelFile, place_of_setting, placed_in
from mlx_sidecar.models.safetensors import StoredTensor

_AT_ONCE = 4
_FIRST_BYTES = {".gguf": 2 * 1024 * 1024, ".safetensors": 64 * 1024}
_MAX_SHARDS = 1000
_CONFIG = "config.json"


def sizes_of(request: SizesRequest, client: HttpClient) -> ModelSizes:
    """Fetch no more than is needed. Raises SidecarError."""
    wanted = DownloadRequest(repo_id=request.repo_id, revision=request.revision, gguf_file=request.gguf_file)
    plan = ask_for_plan(client, wanted)
    beginnings = [_Beginning(client, plan, file) for file in plan.files]
    parts = [each for each in beginnings if each.is_gguf]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        if not parts:
            return _of_safetensors(plan, beginnings, pool)
        return estimate.of_gguf(model_of(list(pool.map(_Beginning.gguf_header, parts))), request.float_bytes)


def _of_safetensors(plan: Plan, beginnings: list[_Beginning], pool: ThreadPoolExecutor) -> ModelSizes:
    config_file = next((each for each in beginnings if each.file.path == _CONFIG), None)
    weights = [each for each in beginnings if each.file.path.endswith(".safetensors")]
    if config_file is None or not weights:
        missing = _CONFIG if config_file is None else "model.safetensors"
        raise ModelInvalid(f"'{plan.repo_id}' has no {missing}, so it is no model for MLX", {"file": missing})
    if len(weights) > _MAX_SHARDS:
        raise HubError(f"'{plan.repo_id}' has {len(weights)} files of weights, and {_MAX_SHARDS} are looked at")
    config = config_file.config()
    tensors = [tensor for some in pool.map(_Beginning.tensors, weights) for tensor in some]
    counts.check(Path(plan.repo_id), config, len(tensors))
    return estimate.of_tensors(config, tensors)


def model_of(headers: list[GGUFHeader]) -> ModelFile:
    """Without the few tensors that are settings: they change no size."""
    places = {tensor.name: (Path(header.name), tensor) for header in headers for tensor in header.tensors}
    model = gguf_files.GGUFModel(Path(headers[0].name), tuple(headers), places)
    return placed_in(model, lambda name: [1.0] * place_of_setting(model, name)[1].values)


class _Beginning:
    """The first bytes of a file, as many as somebody asked for."""

    def __init__(self, client: HttpClient, plan: Plan, file: PlannedFile) -> None:
        self.file, self._client, self._url = file, client, address_of(plan, file)
        self._name = f"{plan.repo_id}/{file.path}"
        self._page = self._url.partition("/resolve/")[0]
        self._data = b""

    @property
    def is_gguf(self) -> bool:
        """By its name."""
        return self.file.path.lower().endswith(gguf_files.SUFFIX)

    def config(self) -> dict[str, Any]:
        """The file as a config.json."""
        if self.file.size > MOST_SETTINGS_BYTES:
            self._refuse(f"has {self.file.size} bytes, and {MOST_SETTINGS_BYTES} are read at most")
        try:
            config = parse_json(self._first(self.file.size), MOST_TENSOR_VALUES)
        except (ValueError, RecursionError) as problem:
            self._refuse(f"can't be read: {problem}")
        if not isinstance(config.get("model_type"), str):
            self._refuse("names no model_type")
        return config

    def tensors(self) -> tuple[StoredTensor, ...]:
        """Those of a safetensors file."""
        header_bytes = int.from_bytes(self._first(_FIRST_BYTES[".safetensors"])[:8], "little")
        return safetensors.parse(self._first(8 + min(header_bytes, MOST_HEADER_BYTES)), self._name, self.file.size)

    def gguf_header(self) -> GGUFHeader:
        """Of a GGUF file."""
        count = _FIRST_BYTES[".gguf"]
        while True:
            try:
                return parse_header(self._first(count), self._name, self.file.size)
            except MoreBytesNeeded as more:
                count = max(more.at_least, 2 * len(self._data))

    def _refuse(self, why: str) -> NoReturn:
        raise ModelInvalid(f"{self._name} {why}", {"file": self.file.path})

    def _first(self, count: int) -> bytes:
        """So many bytes, or all that the file has; a few tries where it may help."""
        count = min(count, self.file.size)
        failures = 0
        while len(self._data) < count:
            try:
                self._receive(count)
            except RetryableError as broken:
                failures += 1
                broken.wait(failures, self._client.pause_s)
        return self._data[:count]

    def _receive(self, count: int) -> None:
        """A server that knows no ranges sends all from the beginning, and is listened to no longer than needed."""
        begin = len(self._data)
        with self._client.get(self._url, f"'{self._name}'", {"Range": f"bytes={begin}-{count - 1}"}) as answer:
            if answer.status not in {200, 206}:
                raise error_from_response(answer, f"'{self._name}'", self._page)
            received = bytearray(self._data if answer.status == 206 else b"")
            while len(received) < count and (chunk := answer.read()):
                received += chunk
        if len(received) < count:
            raise HubError(f"the hub sends less of '{self._name}' than it stated; try again later")
        self._data = bytes(received)
