"""A cache that can't be used: told as such, and not as one in which nothing is."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import constants

from mlx_sidecar.errors import BadToken, DestinationInvalid, InvalidParams, ModelNotFound
from mlx_sidecar.hub.api import headers
from mlx_sidecar.hub.cache import cached_models, models_in
from mlx_sidecar.hub.child import carry_out
from mlx_sidecar.hub.messages import DownloadRequest
from mlx_sidecar.models.hugging_face_cache import cache_folder, snapshot_of
from mlx_sidecar.protocol.responses import ListedModel


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the cache is, or would be."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return tmp_path / "hub"


def listed() -> list[ListedModel]:
    """Everything in the cache."""
    return [model for some in cached_models() for model in some]


def no_folder(cache: Path) -> None:
    """A file in its place."""
    cache.write_text("")


def below_a_file(cache: Path) -> None:
    """A file in its parent's place."""
    cache.parent.rmdir()
    cache.parent.write_text("")


def to_nothing(cache: Path) -> None:
    """A link to a disk that isn't there."""
    cache.symlink_to(cache.parent / "disk")


def to_itself(cache: Path) -> None:
    """A link that leads nowhere."""
    cache.symlink_to(cache)


def forbidden(cache: Path) -> None:
    """A folder of somebody else's."""
    cache.mkdir()
    cache.chmod(0)
    if os.access(cache, os.R_OK):
        pytest.skip("this user may read everything")


@pytest.mark.parametrize("broken", [no_folder, below_a_file, to_nothing, to_itself, forbidden])
def test_a_cache_that_can_not_be_read_is_no_empty_one(cache: Path, broken: Callable[[Path], None]) -> None:
    """The sentence names it and says what to do, for a list as for a model in it."""
    broken(cache)
    with pytest.raises(ModelNotFound, match=r"can't be read: .*set HF_HOME") as refused:
        listed()
    assert str(cache) in refused.value.message
    if broken is not to_nothing:
        with pytest.raises(ModelNotFound, match=r"can't be read: .*set HF_HOME"):
            snapshot_of("owner/name")


def test_a_cache_that_is_not_there_yet_is_an_empty_one(cache: Path) -> None:
    """Nothing is wrong with it."""
    assert listed() == []
    with pytest.raises(ModelNotFound, match="download-model"):
        snapshot_of("owner/name")
    cache.mkdir()
    assert listed() == []


def test_a_repository_that_can_not_be_looked_into_is_listed_as_incomplete(cache: Path) -> None:
    """Beside the others; one that isn't there yet isn't."""
    for name in ("broken", "sound", "empty"):
        (cache / f"models--owner--{name}").mkdir(parents=True)
    (cache / "models--owner--broken" / "snapshots").write_text("")
    snapshot = cache / "models--owner--sound" / "snapshots" / ("c" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    assert [(model.name, model.complete) for model in listed()] == [("owner/broken", False), ("owner/sound", False)]
    with pytest.raises(ModelNotFound, match="can't be read"):
        snapshot_of("owner/broken")


def test_a_folder_that_is_named_and_can_not_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list without models would say that there are none."""

    def refused(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(InvalidParams, match="can't be read: Permission denied"):
        models_in(tmp_path)


@pytest.mark.parametrize("cache_path", ["~/.cache/huggingface/hub", "~nobody/hub"])
def test_without_a_home_there_is_no_cache(monkeypatch: pytest.MonkeyPatch, cache_path: str) -> None:
    """The library leaves the ~ as it is then; a download would make a folder of that name."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", cache_path)
    with pytest.raises(ModelNotFound, match="set HF_HOME"):
        cache_folder()
    with pytest.raises(DestinationInvalid, match=r"set HF_HOME .* or give a destination"):
        carry_out(DownloadRequest(repo_id="owner/name"), lambda _: None)


def test_an_empty_home_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would make the cache one of the root folder's; named elsewhere, it is there."""
    monkeypatch.setenv("HOME", "")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", "/.cache/huggingface/hub")
    for name in ("HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ModelNotFound, match="set HF_HOME"):
        cache_folder()
    monkeypatch.setenv("HF_HOME", "models")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", "models/hub")
    assert cache_folder() == Path.cwd() / "models" / "hub"


@pytest.mark.parametrize("made", ["link to itself", "below a file"])
def test_a_login_that_can_not_be_read_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: str) -> None:
    """It may be another user's, in a cache that is shared; what is public is fetched all the same."""
    token = tmp_path / "token"
    if made == "below a file":
        token.write_text("")
        token = token / "token"
    else:
        token.symlink_to(token)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(token))
    assert "authorization" not in headers()


def test_a_login_that_is_none_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that are no text."""
    (tmp_path / "token").write_bytes(b"\xff\xfe")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    with pytest.raises(BadToken, match="log in again"):
        headers()
