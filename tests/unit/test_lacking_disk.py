"""Disks that lack what the best ones have: what can be done without is done, and the rest is one sentence."""

from __future__ import annotations

import errno
import os
import shutil
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from huggingface_hub import constants

from mlx_sidecar.disk import Disk
from mlx_sidecar.errors import DestinationInvalid, DiskFull, DownloadBusy
from mlx_sidecar.hub import place as places
from mlx_sidecar.hub.child import carry_out
from mlx_sidecar.hub.disk_failures import disk_errors
from mlx_sidecar.hub.messages import Completed, DownloadRequest
from mlx_sidecar.library.results import Results, ResultsBusy, ResultsUnwritable, Subject
from mlx_sidecar.tasks.calibration import Calibration
from mlx_sidecar.tasks.calibration_file import CalibrationFile
from mlx_sidecar.terminal.calibrate import write_file
from tests.support.downloads import BIG, REPO, WANTED, content, tiny_hub
from tests.support.hub import Hub

MIB = 2**20
Usage = namedtuple("Usage", "total used free")


class Lacking(Disk):
    """Refuses some calls, each with an error of its own."""

    def __init__(self, **refused: int) -> None:
        self.refused = refused

    def _refuse(self, call: str, *names: Path) -> None:
        if (number := self.refused.get(call)) is not None:
            raise OSError(number, os.strerror(number), *map(str, names))

    def flock(self, descriptor: int, operation: int) -> None:
        """Refused, or done."""
        self._refuse("flock")
        super().flock(descriptor, operation)

    def fsync(self, descriptor: int) -> None:
        """Refused, or done."""
        self._refuse("fsync")
        super().fsync(descriptor)

    def replace(self, source: Path, target: Path) -> None:
        """Refused where the name is taken, or everywhere, or done."""
        self._refuse("rename", source)
        if target.exists():
            self._refuse("replace", source)
        super().replace(source, target)

    def symlink(self, to: str, link: Path) -> None:
        """Refused, or done."""
        self._refuse("symlink", link)
        super().symlink(to, link)

    def open(self, path: Path, flags: int) -> int:
        """Refused for parts that another user began."""
        if path.name.endswith(".part") and path.exists() and path.stat().st_mode & 0o777 == 0o444:
            self._refuse("open", path)
        return super().open(path, flags)


WAYS_TO_SAY = {
    "flock": [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EBADF],
    "symlink": [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EACCES],
    "fsync": [errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM],
    "replace": [errno.EEXIST, errno.EPERM, errno.EACCES, errno.EOPNOTSUPP],
}
LACKS = [{call: numbers[0]} for call, numbers in WAYS_TO_SAY.items()]
CALIBRATION = CalibrationFile(
    version=1,
    model_digest="0" * 64,
    adapter_digest=None,
    prompt_version="0" * 16,
    curves={"label": Calibration(0.0, 2.0)},
    examples=30,
)
LACKS.append({call: numbers[1] for call, numbers in WAYS_TO_SAY.items()})


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A hub for this very process, and a cache."""
    made = tiny_hub()
    monkeypatch.setattr(constants, "ENDPOINT", made.url)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    yield made
    made.close()


def download(disk: Disk, to: Path | None = None) -> Completed:
    """Fetch the repository into a folder, or into the cache."""
    return carry_out(DownloadRequest(repo_id=REPO, destination=str(to) if to else None), lambda _: None, disk)


def assert_there(hub: Hub, folder: Path) -> None:
    """Every file, to the byte."""
    assert {name: (folder / name).read_bytes() for name in WANTED} == {name: content(hub, name) for name in WANTED}


@pytest.mark.parametrize(("call", "number"), [(call, each) for call in WAYS_TO_SAY for each in WAYS_TO_SAY[call]])
def test_in_whichever_way_a_disk_says_it(tmp_path: Path, call: str, number: int) -> None:
    """Each call alone."""
    disk, source, target = Lacking(**{call: number}), tmp_path / "source", tmp_path / "target"
    source.write_text("new")
    target.write_text("old")
    disk.move(source, target)
    assert (target.read_text(), source.exists()) == ("new", False)
    assert disk.knows_links(tmp_path) == (call != "symlink")
    with target.open("rb") as stream:
        disk.sync(stream.fileno())
        assert disk.lock(stream.fileno()) == (call != "flock")
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("refused", LACKS, ids=str)
@pytest.mark.parametrize("into_cache", [False, True], ids=["folder", "cache"])
def test_a_download_does_without(hub: Hub, tmp_path: Path, refused: dict[str, int], into_cache: bool) -> None:
    """The first one, one of another revision over it, and one that finds everything there."""
    disk, to = Lacking(**refused), None if into_cache else tmp_path / "to"
    assert_there(hub, Path(download(disk, to).destination))
    hub.repos[REPO].add_commit({"config.json": b'{"model_type": "qwen2"}'})
    assert_there(hub, Path(download(disk, to).destination))
    hub.requests.clear()
    assert_there(hub, Path(download(disk, to).destination))
    assert len(hub.requests) == 1


class TwoDisks(Disk):
    """Each folder lies on a disk of its own."""

    def replace(self, source: Path, target: Path) -> None:
        """Within a folder only."""
        if source.parent != target.parent:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), str(source), None, str(target))
        super().replace(source, target)


class FullTwin(TwoDisks):
    """And there is no room on the other."""

    def fsync(self, descriptor: int) -> None:
        """Too much was written."""
        super().fsync(descriptor)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("into_cache", [False, True], ids=["folder", "cache"])
def test_a_place_on_two_disks_is_filled(hub: Hub, tmp_path: Path, into_cache: bool) -> None:
    """Where a rename can't lead, a copy does; nothing of it is left behind."""
    to = None if into_cache else tmp_path / "to"
    assert_there(hub, Path(download(TwoDisks(), to).destination))
    hub.repos[REPO].add_commit({"config.json": b'{"model_type": "qwen2"}'})
    assert_there(hub, Path(download(TwoDisks(), to).destination))
    assert not [
        path for path in tmp_path.rglob("*") if path.name.endswith((".coming", ".part")) or path.name == ".partial"
    ]


def test_a_copy_that_does_not_fit_leaves_both_as_they_were(tmp_path: Path) -> None:
    """The file that was there, and the one that was to come, which the next try finds."""
    (tmp_path / "one").mkdir()
    source, target = tmp_path / "one" / "x", tmp_path / "x"
    source.write_text("new")
    target.write_text("old")
    with pytest.raises(OSError, match="No space"):
        FullTwin().move(source, target)
    assert (source.read_text(), target.read_text()) == ("new", "old")
    assert sorted(tmp_path.iterdir()) == [tmp_path / "one", target]


@pytest.mark.parametrize("moved", ["blobs", "snapshots"])
def test_a_part_of_the_cache_may_lie_elsewhere(hub: Hub, tmp_path: Path, moved: str) -> None:
    """Behind a link, to a larger disk: what is linked is found from there."""
    (tmp_path / "larger" / "deeper" / moved).mkdir(parents=True)
    repository = tmp_path / "hub" / "models--owner--tiny"
    repository.mkdir(parents=True)
    (repository / moved).symlink_to(tmp_path / "larger" / "deeper" / moved)
    assert_there(hub, Path(download(Disk()).destination))


@pytest.mark.parametrize("refused", LACKS, ids=str)
def test_a_calibration_does_without(tmp_path: Path, refused: dict[str, int]) -> None:
    """A new file, and one in the place of another; nothing is left beside it."""
    for _ in range(2):
        write_file(tmp_path / "x.calibration.json", CALIBRATION, Lacking(**refused))
        assert msgspec.json.decode((tmp_path / "x.calibration.json").read_bytes(), type=CalibrationFile) == CALIBRATION
    assert [path.name for path in tmp_path.iterdir()] == ["x.calibration.json"]


def test_a_calibration_that_the_disk_does_not_take_leaves_the_old_one(tmp_path: Path) -> None:
    """Whole, and nothing beside it."""
    (tmp_path / "x").write_text("old")
    with pytest.raises(OSError, match="No space"):
        write_file(tmp_path / "x", CALIBRATION, Lacking(fsync=errno.ENOSPC))
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


@pytest.mark.parametrize("refused", LACKS, ids=str)
def test_a_job_does_without(tmp_path: Path, refused: dict[str, int]) -> None:
    """What it can't have is known, so that it can be said."""
    results = Results(tmp_path / "results", "job", Lacking(**refused))
    results.append(Subject(path="a"), "digest", {"type": "response"})
    results.sync()
    results.close()
    assert results.is_locked == ("flock" not in refused)
    again = Results(tmp_path / "results", "job", Lacking(**refused))
    assert again.has(Subject(path="a"), "digest")
    again.close()


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize("number", [errno.EWOULDBLOCK, errno.EACCES])
def test_a_lock_that_another_has_is_not_a_lack_of_locks(tmp_path: Path, number: int) -> None:
    """Whichever way the system says it."""
    with pytest.raises(ResultsBusy):
        Results(tmp_path / "results", "job", Lacking(flock=number))
    with pytest.raises(DownloadBusy):
        download(Lacking(flock=number), tmp_path / "to")


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize(("call", "number"), [("fsync", errno.EIO), ("rename", errno.ENOSYS), ("rename", errno.EPERM)])
def test_what_can_not_be_done_without_is_one_sentence(tmp_path: Path, call: str, number: int) -> None:
    """Data that is lost, or a disk that gives no file another name."""
    with pytest.raises(DestinationInvalid, match="choose another folder"):
        download(Lacking(**{call: number}), tmp_path / "to")
    with pytest.raises(DestinationInvalid, match="set HF_HOME"):
        download(Lacking(**{call: number}))
    assert not (tmp_path / "to" / "config.json").exists()


def test_results_that_are_lost_end_the_job_with_a_sentence(tmp_path: Path) -> None:
    """Not with a bare word of the system's."""
    results = Results(tmp_path / "results", "job", Lacking(fsync=errno.EIO))
    results.append(Subject(path="a"), "digest", {"type": "response"})
    with pytest.raises(ResultsUnwritable, match=r"results can't be written: Input/output error; name another file"):
        results.sync()
    results._disk = Disk()
    results.close()
    for path in (tmp_path, tmp_path / "none" / "results"):
        with pytest.raises(ResultsUnwritable, match="name another file"):
            Results(path, "job")


# Links


def with_room(monkeypatch: pytest.MonkeyPatch, free_bytes: int, total_bytes: int = 10**12) -> None:
    """Let the disk have so much."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(total_bytes, 0, free_bytes))
    monkeypatch.setattr(places, "_SPARE_BYTES", 0)


def test_without_links_a_cache_asks_for_twice_the_room(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is fetched; with links, and into a folder, once is enough."""
    size = sum(len(content(hub, name)) for name in WANTED)
    with_room(monkeypatch, 2 * size - 1)
    with pytest.raises(DiskFull, match="as this disk has no links") as refused:
        download(Lacking(symlink=errno.EPERM))
    assert refused.value.data == {"needed_bytes": 2 * size, "free_bytes": 2 * size - 1}
    assert not [request for request in hub.requests if "/resolve/" in request.path]
    with_room(monkeypatch, size)
    download(Lacking(symlink=errno.EPERM), tmp_path / "to")
    download(Disk())


def test_what_is_only_to_be_copied_asks_for_room_as_well(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """All blobs are there from a disk with links; the switch of the hub's library counts as having none."""
    snapshot = Path(download(Disk()).destination)
    for name in WANTED:
        (snapshot / name).unlink()
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_SYMLINKS", True)
    with_room(monkeypatch, BIG)
    with pytest.raises(DiskFull):
        download(Disk())
    with_room(monkeypatch, 2 * BIG)
    download(Disk())
    assert_there(hub, snapshot)
    assert not any((snapshot / name).is_symlink() for name in WANTED)


def test_a_disk_that_does_not_know_how_large_it_is_is_tried(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some network file systems say zero for everything."""
    with_room(monkeypatch, 0, total_bytes=0)
    assert_there(hub, Path(download(Disk(), tmp_path / "to").destination))


# Other users


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
@pytest.mark.parametrize("into_cache", [False, True], ids=["folder", "cache"])
def test_files_have_the_rights_that_the_umask_leaves(tmp_path: Path, mask: int, mode: int, into_cache: bool) -> None:
    """So that a group can share a cache, as with the hub's library; parts, too, with which others go on."""
    begun: set[int] = set()

    class Watched(Disk):
        def sync(self, descriptor: int) -> None:
            begun.add(os.fstat(descriptor).st_mode & 0o777)

    before = os.umask(mask)
    try:
        folder = Path(download(Watched(), None if into_cache else tmp_path / "to").destination)
    finally:
        os.umask(before)
    assert begun == {mode}
    assert {(folder / name).stat().st_mode & 0o777 for name in WANTED} == {mode}


@pytest.mark.parametrize("readable", [True, False])
def test_a_part_that_another_user_began_is_taken_over(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, readable: bool
) -> None:
    """It can't be written to; the folder can, so a copy takes its place, or a new one where it can't even be read."""
    digest = hub.repos[REPO].digest(WANTED[1])
    part = tmp_path / "to" / ".partial" / f"{digest}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(content(hub, WANTED[1])[:1_000_000])
    part.chmod(0o444)
    sound = Path.open

    def opened(path: Path, *arguments: str, **options: int) -> object:
        if path == part and not readable:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return sound(path, *arguments, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", opened)
    completed = download(Lacking(open=errno.EACCES), tmp_path / "to")
    assert completed.resumed_bytes == (1_000_000 if readable else 0)
    assert_there(hub, tmp_path / "to")
    assert not (tmp_path / "to" / ".partial").exists()


def test_what_belongs_to_another_user_is_told_with_the_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And that a group may be given the right; the folder itself may be the reason, or where a file was to go."""
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    monkeypatch.setattr(os, "access", lambda path, _: Path(path) != tmp_path / "theirs")
    (tmp_path / "theirs").mkdir()
    file, mine = str(tmp_path / "theirs" / "x"), str(tmp_path / "x")
    for problem in (
        PermissionError(errno.EACCES, "Permission denied", file),
        PermissionError(errno.EACCES, "Permission denied", mine, None, file),
    ):
        with pytest.raises(DestinationInvalid) as refused, disk_errors(tmp_path, "set HF_HOME to another folder"):
            raise problem
        assert f"'{tmp_path / 'theirs'}' belongs to" in refused.value.message
        assert "group" in refused.value.message
        assert refused.value.message.endswith("or set HF_HOME to another folder")
    with pytest.raises(DestinationInvalid, match="Permission denied; choose"), disk_errors(tmp_path, "choose another"):
        raise PermissionError(errno.EACCES, "Permission denied")


def test_a_file_that_is_too_large_for_the_disk_is_told_as_such(tmp_path: Path) -> None:
    """FAT holds none of 4 GiB, however much is free."""
    with pytest.raises(DestinationInvalid, match="FAT"), disk_errors(tmp_path, "choose another folder"):
        raise OSError(errno.EFBIG, "File too large")
