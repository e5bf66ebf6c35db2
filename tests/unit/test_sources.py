"""Ways to name a model: one list for `--model`, the terminal and `load-model`."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlx_sidecar.commands import models
from mlx_sidecar.errors import ModelNotFound
from mlx_sidecar.models import sources
from mlx_sidecar.models.resolve import DEMO_FOLDER, Location
from mlx_sidecar.models.source import ModelSource
from mlx_sidecar.models.sources import source_of
from mlx_sidecar.protocol.requests import LoadModel
from mlx_sidecar.server.settings import parse_settings
from mlx_sidecar.terminal.job import _identity


def test_the_embedded_model_wins_over_a_folder_and_a_folder_over_a_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever else is called the same."""
    for name in ("demo", "owner/name"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert source_of("demo").locate("demo") == Location(DEMO_FOLDER, "demo")
    assert source_of("owner/name").locate("owner/name") == Location(tmp_path / "owner/name", "name")
    assert source_of("other/name").field == "repo_id"
    with pytest.raises(ModelNotFound, match="does not exist"):
        source_of("no/such/folder")


def test_a_folder_is_one_model_however_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job goes on where its results name the same model."""
    (tmp_path / "model").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    written = ("model", "./model", str(tmp_path / "model"), "link")
    assert {_identity(model) for model in written} == {str(tmp_path.resolve() / "model")}
    assert (_identity("demo"), _identity("owner/name"), _identity("nothing")) == ("demo", "owner/name", "nothing")


def test_a_source_in_the_list_is_known_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One module and one line: `--model`, `load-model` and the terminal take its references."""
    store = ModelSource(
        "model_path",
        lambda reference: reference.startswith("store:"),
        lambda reference: Location(tmp_path / reference.removeprefix("store:"), reference),
        str.lower,
    )
    monkeypatch.setattr(sources, "SOURCES", (store, *sources.SOURCES))
    settings = parse_settings(["--model", "store:Tiny"], {})
    assert settings.startup_request == LoadModel(model_path="store:Tiny")
    assert models._location(settings.startup_request) == Location(tmp_path / "Tiny", "store:Tiny")
    assert _identity("store:Tiny") == "store:tiny"


def test_a_reference_is_resolved_once_at_a_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Looking into a cache on a slow disk twice would double the time of a start."""
    asked = list[str]()

    def locate(reference: str) -> Location:
        asked.append(reference)
        return Location(tmp_path, reference)

    store = ModelSource("model_path", lambda _: True, locate)
    monkeypatch.setattr(sources, "SOURCES", (store,))
    assert parse_settings(["--model", "a"], {}).startup_request == LoadModel(model_path="a")
    assert asked == ["a"]
