"""A bundle, built once and moved away, does what the installed worker does, with no Python and no environment."""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.conformance.play import Setup, play
from tests.conformance.transcript import Transcript, read_all
from tests.support.downloads import DOWNLOAD, assert_whole
from tests.support.hub import Fault, Hub
from tests.support.models import Shelf
from tests.support.worker import DEADLINE_S, REPOSITORY, Line, Worker

pytest.importorskip("PyInstaller", reason="the bundle's tests need the extra: pip install 'mlx-sidecar[bundle]'")
pytestmark = pytest.mark.bundle

NO_ENVIRONMENT = ("/usr/bin/env", "-i")
ENDLESS = {"command": "generate", "prompt": "x", "max_tokens": 30_000, "stream": True, "id": "endless"}
NEWS = "The home team won the final with a goal in the last minute. Thousands of fans celebrated in the streets."
MAIN_JOB = [{"command": "generate-tags", "content": NEWS}, {"command": "summarize", "content": NEWS}]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A bundle's program, far from where it was built, in a folder with blanks and letters of all kinds."""
    folder = tmp_path_factory.mktemp("bundle")
    command = [sys.executable, "-m", "mlx_sidecar.bundle", "--output", str(folder / "here")]
    made = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True, timeout=600, check=True)
    place = Path(made.stdout.strip())
    assert place.parent == folder / "here"
    moved = folder / "mon café 猫" / "worker"
    moved.parent.mkdir()
    place.rename(moved)
    shutil.rmtree(folder / "here")
    before = files_of(moved)
    yield moved / "mlx-sidecar"
    assert files_of(moved) == before, "something was written into the bundle"


def files_of(folder: Path) -> dict[Path, tuple[int, int]]:
    """Everything in a folder, with its size and when it was changed."""
    return {path: (path.lstat().st_size, path.lstat().st_mtime_ns) for path in folder.rglob("*")}


def said(line: Line) -> Line:
    """What a line says, without what the clock says and what memory is free."""
    return {name: value for name, value in line.items() if name not in ("timing", "memory", "load_s", "memory_bytes")}


def bare(program: Path, *flags: str, cwd: Path, **env: str) -> Worker:
    """The bundle's worker with this environment and nothing else."""
    variables = [f"{name}={value}" for name, value in env.items()]
    return Worker(*flags, program=program, under=[*NO_ENVIRONMENT, *variables], cwd=cwd)


def answers(it: Worker, requests: Sequence[Mapping[str, Any]]) -> list[Line]:
    """What a worker says to these, one after the other, until its end."""
    with it:
        return [said(it.demand(request)) for request in requests]


def test_the_main_job_is_done_as_by_the_installed_worker(program: Path, tmp_path: Path) -> None:
    """Tags and a summary, from another folder, with no PATH and no HOME."""
    lines = answers(bare(program, "--model", "demo", cwd=tmp_path), MAIN_JOB)
    assert lines == answers(Worker("--model", "demo"), MAIN_JOB)


def test_it_says_of_itself_what_the_installed_worker_says(program: Path, tmp_path: Path) -> None:
    """Versions, device, commands: read without what only an installed package has."""
    question = [{"command": "check-availability"}]
    lines = answers(bare(program, cwd=tmp_path), question)
    assert lines == answers(Worker(), question)
    assert lines[0]["available"] is True


@pytest.mark.parametrize("family", ["llama", "qwen2", "phi3", "gemma3_text", "mamba"])
def test_models_speak_as_through_the_installed_worker(program: Path, shelf: Shelf, tmp_path: Path, family: str) -> None:
    """Also those whose tokenizer transformers makes, which reads its own source files for it."""
    requests: list[dict[str, Any]] = [
        {"command": "load-model", "model_path": str(shelf.family(family))},
        {
            "command": "generate",
            "messages": [{"role": "user", "content": "Ünïcödé 日本語"}],
            "max_tokens": 8,
            "seed": 1,
        },
        {"command": "generate", "prompt": "x", "choices": ["yes", "no"], "seed": 1},
        {"command": "generate", "prompt": "x", "schema": {"type": "boolean"}, "seed": 1},
    ]
    assert answers(bare(program, cwd=tmp_path), requests) == answers(Worker(), requests)


def test_an_adapter_is_applied(program: Path, shelf: Shelf, tmp_path: Path) -> None:
    """By code of mlx_lm's that lies beside its training."""
    model = shelf.family("llama")
    request = {"command": "load-model", "model_path": str(model), "adapter_path": str(shelf.adapter(model))}
    with bare(program, cwd=tmp_path) as it:
        it.demand(request)
        it.demand({"command": "generate", "prompt": "x", "max_tokens": 3})


def test_a_download_comes_from_a_child_that_is_the_bundle_too(program: Path, hub: Hub, tmp_path: Path) -> None:
    """Whole, and without a module of the working folder."""
    (tmp_path / "msgspec.py").write_text("raise SystemExit('imported')")
    hold = Fault("*00001*", hold=1000)
    hub.faults.append(hold)
    with bare(program, cwd=tmp_path, HF_ENDPOINT=hub.url) as it:
        it.send({**DOWNLOAD, "destination": str(tmp_path / "to")})
        assert hold.reached.wait(DEADLINE_S)
        (child,) = psutil.Process(it.process.pid).children(recursive=True)
        assert child.exe() == str(program)
        hold.release()
        assert it.ending("get")["success"] is True
    assert_whole(hub, tmp_path / "to")


def test_download_at_a_terminal(program: Path, hub: Hub, tmp_path: Path) -> None:
    """The same child, with a progress bar."""
    command = [str(program), "download", "owner/tiny", "--to", str(tmp_path / "to")]
    ended = subprocess.run(
        command, env={"HF_ENDPOINT": hub.url}, cwd=tmp_path, capture_output=True, text=True, timeout=DEADLINE_S
    )
    assert (ended.returncode, ended.stdout) == (0, f"{tmp_path / 'to'}\n"), ended.stderr
    assert_whole(hub, tmp_path / "to")


@pytest.mark.parametrize(
    "command",
    [
        ["tags", "news.txt", "--model", "demo"],
        ["summarize", "news.txt", "--model", "demo", "--json"],
        ["tags", ".", "--out", "results.jsonl", "--model", "demo"],
        ["models"],
        ["doctor"],
    ],
    ids=" ".join,
)
def test_commands_for_people_ask_a_worker_that_is_the_bundle_too(
    program: Path, tmp_path: Path, command: list[str]
) -> None:
    """There is no Python and no other worker in this environment that they could start."""
    (tmp_path / "news.txt").write_text(NEWS)
    ended = subprocess.run(
        [program, *command], env={}, cwd=tmp_path, capture_output=True, text=True, timeout=DEADLINE_S
    )
    assert ended.returncode == 0, ended.stderr


def test_no_child_outlives_a_bundle_that_is_killed(program: Path, hub: Hub, tmp_path: Path) -> None:
    """The process that was spawned is the worker itself, so nothing stands between."""
    hold = Fault("*.safetensors", hold=1000)
    hub.faults.append(hold)
    it = bare(program, cwd=tmp_path, HF_ENDPOINT=hub.url)
    try:
        it.send({**DOWNLOAD, "destination": str(tmp_path / "to")})
        assert hold.reached.wait(DEADLINE_S)
        assert psutil.Process(it.process.pid).exe() == str(program)
        (child,) = psutil.Process(it.process.pid).children(recursive=True)
        it.signal(signal.SIGKILL)
        assert psutil.wait_procs([child], timeout=DEADLINE_S)[1] == []
    finally:
        it.kill()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)], ids=["SIGTERM", "SIGINT"])
def test_a_signal_ends_it_with_an_answer(
    program: Path, shelf: Shelf, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    """As §5 of protocol.md says, exit code included."""
    it = bare(program, "--model", str(shelf.endless()), cwd=tmp_path)
    try:
        it.send(ENDLESS)
        it.read_until("endless", "progress")
        it.signal(number)
        finished = it.drain(code)
    finally:
        it.kill()
    assert finished.endings[-1]["code"] in {"cancelled", "shutting_down"}


PARENT = "import subprocess, sys; subprocess.Popen(sys.argv[1:]).wait()"


def test_it_ends_with_its_parent(program: Path, shelf: Shelf, tmp_path: Path) -> None:
    """Which was killed, while the pipes stay open."""
    flags = ["--model", str(shelf.endless())]
    it = Worker(*flags, program=program, under=[sys.executable, "-c", PARENT], cwd=tmp_path)
    try:
        it.send(ENDLESS)
        it.read_until("endless", "progress")
        family = psutil.Process(it.process.pid).children(recursive=True)
        assert [each.exe() for each in family] == [str(program)]
        it.signal(signal.SIGKILL)
        it.drain(None)
        assert psutil.wait_procs(family, timeout=DEADLINE_S)[1] == []
    finally:
        it.kill()


def test_an_environment_for_python_or_the_linker_changes_nothing(program: Path, tmp_path: Path) -> None:
    """An app may have been started out of one, or be a bundle of this kind itself."""
    for name in ("msgspec.py", "sitecustomize.py"):
        (tmp_path / name).write_text("raise SystemExit('imported')")
    for name in ("libpython3.11.so.1.0", "libmlx.so", "libssl.so.3", "libstdc++.so.6"):
        (tmp_path / name).write_bytes(b"no library")
    foreign = {
        "PYTHONPATH": str(tmp_path),
        "PYTHONHOME": "/nowhere",
        "PYTHONSTARTUP": "/nowhere",
        "LD_LIBRARY_PATH": "/nowhere",
        "_PYI_ARCHIVE_FILE": "/nowhere/app",
        "_PYI_APPLICATION_HOME_DIR": "/nowhere",
        "_PYI_PARENT_PROCESS_LEVEL": "1",
    }
    with bare(program, "--model", "demo", cwd=tmp_path, **foreign) as it:
        it.demand(MAIN_JOB[0])
        given = dict(item.split("=", 1) for item in own_environment(it.process.pid))
    assert given["LD_LIBRARY_PATH"].split(":") == [str(program.parent / "_internal"), "/nowhere"]


def own_environment(pid: int) -> list[str]:
    """What a process was started with."""
    return [os.fsdecode(item) for item in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0") if b"=" in item]


SPY = """\
#!/bin/sh
echo "${LD_LIBRARY_PATH-none}" >> "$SPIED"
exit 1
"""


@pytest.mark.parametrize("theirs", ["/nowhere", None])
def test_no_program_of_the_system_is_started(program: Path, shelf: Shelf, tmp_path: Path, theirs: str | None) -> None:
    """MLX would look for a compiler on Linux, which may not be there and wouldn't work with a bundle's libraries."""
    compiler = tmp_path / "g++"
    compiler.write_text(SPY)
    compiler.chmod(0o755)
    given = {"LD_LIBRARY_PATH": theirs} if theirs else {}
    with bare(program, cwd=tmp_path, PATH=f"{tmp_path}:/bin", SPIED=str(tmp_path / "spied"), **given) as it:
        it.demand({"command": "load-model", "model_path": str(shelf.family("llama"))})
        it.demand({"command": "generate", "prompt": "x", "max_tokens": 2})
    assert not (tmp_path / "spied").exists()


def test_two_at_once_one_of_them_through_a_link(program: Path, tmp_path: Path) -> None:
    """A link that lies elsewhere finds the bundle, and neither disturbs the other."""
    link = tmp_path / "link"
    link.symlink_to(program)
    with bare(program, "--model", "demo", cwd=tmp_path) as one, bare(link, "--model", "demo", cwd=tmp_path) as other:
        for it in (one, other):
            it.send({**MAIN_JOB[0], "id": "tags"})
        assert said(one.ending("tags")) == said(other.ending("tags"))


@pytest.mark.parametrize(
    ("flags", "code"),
    [
        (["--version"], 0),
        (["--nope"], 2),
        (["-c", "print('code')"], 2),
        (["-m", "http.server"], 2),
        # The private way in is for exactly one argument.
        (["--download-child", "--nope"], 2),
    ],
)
def test_flags_are_the_workers(program: Path, tmp_path: Path, flags: list[str], code: int) -> None:
    """It is no Python that would run what it is given."""
    ended = subprocess.run([program, *flags], env={}, cwd=tmp_path, capture_output=True, timeout=DEADLINE_S)
    assert ended.returncode == code
    assert b"code" not in ended.stdout


def test_the_resource_tracker_of_multiprocessing_is_served(program: Path) -> None:
    """Libraries start one by `sys.executable -c`; it lives until its pipe is closed."""
    theirs, ours = os.pipe()
    command = [str(program), "-c", f"from multiprocessing.resource_tracker import main;main({theirs})"]
    with subprocess.Popen(command, env={}, pass_fds=[theirs], stdout=subprocess.PIPE) as tracker:
        os.close(theirs)
        os.write(ours, b"PROBE:0:noop\n")
        assert not select.select([os.pidfd_open(tracker.pid)], [], [], 0)[0]
        os.close(ours)
        assert tracker.wait(DEADLINE_S) == 0


@pytest.mark.parametrize(
    "transcript", [each for each in read_all() if re.match("framing|life", each.name)], ids=lambda each: each.name
)
def test_it_conforms(program: Path, transcript: Transcript, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the transcripts about bytes and endings, where a bundle might differ."""
    monkeypatch.chdir(REPOSITORY)
    play(transcript, Setup((str(program),), "demo", DEADLINE_S))


def test_it_holds_the_worker_and_nothing_of_its_tests(program: Path) -> None:
    """No training, no tools of developing, not even what made it; and nothing that a copy of the folder could break."""
    from PyInstaller.archive.readers import CArchiveReader

    modules = set(CArchiveReader(str(program)).open_embedded_archive("PYZ.pyz").toc)
    ours = {".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in sources()}
    found = {name for name in modules if name.split(".")[0] == "mlx_sidecar"}
    assert found - ours == set()
    assert {name for name in ours if name.split(".")[1:2] == ["terminal"]} | {"mlx_sidecar.hub.child"} <= found
    foreign = ("tests", "training", "benchmarks", "pytest", "hypothesis", "PyInstaller", "pip", "setuptools", "torch")
    assert [name for name in modules if name.split(".")[0] in (*foreign, "tkinter", "PIL", "matplotlib")] == []
    files = [path.relative_to(program.parent) for path in program.parent.rglob("*")]
    assert [path for path in files if (program.parent / path).is_symlink()] == []
    assert [path for path in files if {"tests", "training", "bundle", "benchmarks"} & set(path.parts)] == []


def sources() -> Iterator[Path]:
    """The package's modules that the worker can come to import."""
    for path in (REPOSITORY / "mlx_sidecar").rglob("*.py"):
        place = path.relative_to(REPOSITORY)
        if place.parts[1] != "bundle":
            yield place


def test_on_macos_mlx_finds_its_kernels_beside_its_library() -> None:
    """Both at the top, where PyInstaller lets libraries be looked for; not run on macOS yet."""
    from mlx_sidecar.bundle.recipe import _for_macos

    found = [
        ("mlx/core.so", "/site/mlx/core.so", "EXTENSION"),
        ("libmlx.dylib", "mlx/lib/libmlx.dylib", "SYMLINK"),
        ("mlx/lib/libmlx.dylib", "/site/mlx/lib/libmlx.dylib", "BINARY"),
    ]
    assert _for_macos(found) == [
        ("mlx/core.so", "/site/mlx/core.so", "EXTENSION"),
        ("libmlx.dylib", "/site/mlx/lib/libmlx.dylib", "BINARY"),
        ("mlx.metallib", "/site/mlx/lib/mlx.metallib", "DATA"),
    ]
