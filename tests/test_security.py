"""What SECURITY.md says is out of reach: sockets, other people's files, code in model folders, logs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.audit import Audit, Event, within
from tests.support.hub import Hub
from tests.support.models import RAN, Shelf
from tests.support.texts import ARTICLE
from tests.support.worker import REPOSITORY, Server, Worker, run_once

SYSTEM = ("/proc", "/dev", "/sys", "/etc", "/usr", "/lib", "/System", "/Library")
WORK: list[dict[str, Any]] = [
    {"command": "check-availability"},
    {"command": "generate-tags", "content": ARTICLE},
    {"command": "summarize", "content": ARTICLE, "stream": True, "max_words": 20},
    {"command": "generate", "prompt": "x", "max_tokens": 4, "schema": {"type": "object"}},
    {"command": "status"},
    {"command": "list-models"},
    {"command": "load-model", "repo_id": "acme/absent"},
    {"command": "load-model", "model_path": "acme/absent"},
    {"command": "nope"},
]


@pytest.fixture
def audit(tmp_path: Path) -> Audit:
    """A hook that writes down what a worker does."""
    return Audit(tmp_path / "audit")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with what someone might look for."""
    home = tmp_path / "home"
    for name in (".ssh/id_ed25519", ".netrc", ".aws/credentials", "Documents/diary.txt", ".cache/huggingface/token"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text("secret", encoding="utf-8")
    return home


def interpreter() -> list[str | Path]:
    """Where Python, its packages and the worker itself are."""
    return [sys.prefix, sys.base_prefix, sys.base_exec_prefix, *filter(None, sys.path), str(REPOSITORY)]


# Sockets, processes and files


@pytest.mark.parametrize("family", ["demo", "llama", "phi3"])
def test_a_worker_at_work_opens_no_socket_starts_no_process_and_writes_no_file(
    shelf: Shelf, audit: Audit, home: Path, family: str
) -> None:
    """And reads nothing but its interpreter, the model it was given and, in the user's home, the Hugging Face cache."""
    model = "demo" if family == "demo" else str(shelf.family(family))
    load = {"command": "load-model", "model_path": model, "progress": True}
    finished = run_once([load, *WORK], env={**audit.environment, "HOME": str(home), "HF_HOME": ""})
    assert [line["type"] for line in finished.endings] == ["response"] * 7 + ["error"] * 3
    events = audit.of_one()
    assert [event for event in events if event.name.startswith("socket.")] == []
    assert [event for event in events if event.starts_a_process] == []
    assert [event for event in events if event.writes] == []
    roots = [
        *interpreter(),
        *SYSTEM,
        *audit.own,
        home / ".cache" / "huggingface",
        *([model] if model != "demo" else []),
    ]
    strays = {event.path for event in files(events) if not within(event.path, roots)}
    assert strays == set()


needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")


@needs_proc
def test_the_system_saw_no_child_no_socket_and_no_file_either(home: Path, tmp_path: Path) -> None:
    """Native code raises no audit events, so the kernel is asked: it counts what children that were waited for took."""
    before, temporary = contents(home), tmp_path / "temporary"
    temporary.mkdir()
    with Worker(env={"HOME": str(home), "HF_HOME": "", "TMPDIR": str(temporary)}) as worker:
        worker.demand({"command": "load-model", "model_path": "demo"})
        for request in WORK:
            worker.ask(request)
        number = worker.process.pid
        assert (psutil.Process(number).children(recursive=True), taken_by_ended_children(number)) == ([], [0] * 4)
        links = [str(each.readlink()) for each in Path(f"/proc/{number}/fd").iterdir()]
        assert [link for link in links if link.startswith("socket:")] == []
    assert contents(temporary) == []
    assert contents(home) == before


def contents(folder: Path) -> list[Path]:
    """Everything below it."""
    return sorted(folder.rglob("*"))


def taken_by_ended_children(number: int) -> list[int]:
    """Minor and major faults, and time in user and kernel mode, of a process's children: proc_pid_stat(5), 11 to 17."""
    fields = Path(f"/proc/{number}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return [int(fields[place - 3]) for place in (11, 13, 16, 17)]


TRACED = "clone,clone3,fork,vfork,execve,execveat,socket,connect,bind,open,openat,openat2,creat,mkdir,mkdirat"
CALL = re.compile(r"^\d+ +(\w+)\((.*)$", re.MULTILINE)


def can_trace() -> bool:
    """Whether there is an strace, and it is allowed to."""
    strace = shutil.which("strace")
    return strace is not None and subprocess.run([strace, "-qq", "-o", os.devnull, "true"], check=False).returncode == 0


def test_not_for_a_moment_either(home: Path, tmp_path: Path) -> None:
    """Every system call that makes a process, a socket or a file, from the worker's first one to its last."""
    if not can_trace():
        pytest.skip("no strace that may trace")
    trace = tmp_path / "trace"
    strace = ["strace", "-f", "--seccomp-bpf", "-qq", "-s", "500", "-o", str(trace), "-e", f"trace={TRACED}"]
    env = {"HOME": str(home), "HF_HOME": "", "TMPDIR": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
    with Worker(under=strace, env=env) as worker:
        worker.demand({"command": "load-model", "model_path": "demo"})
        for request in WORK:
            worker.ask(request)
    calls = CALL.findall(trace.read_text(encoding="utf-8", errors="replace"))
    assert {name for name, _ in calls} >= {"execve", "openat"}, "nothing was traced"
    assert [call for call in calls if call[0].startswith("exec")][1:] == []
    assert [call for call in calls if "fork" in call[0] or ("clone" in call[0] and "CLONE_THREAD" not in call[1])] == []
    assert [call for call in calls if call[0] in ("socket", "connect", "bind", "creat", "mkdir", "mkdirat")] == []
    opened = [arguments for name, arguments in calls if name.startswith("open")]
    writing = [each for each in opened if re.search(r"O_WRONLY|O_RDWR|O_CREAT|O_TMPFILE", each)]
    assert [each for each in writing if not re.search(r'"/(dev|proc)/', each)] == []


def files(events: list[Event]) -> list[Event]:
    """Files and folders that were opened by name."""
    opened = (event for event in events if event.name in ("open", "os.listdir", "os.scandir"))
    return [event for event in opened if isinstance(event.arguments[0], str)]


def test_a_path_reaches_no_further_than_it_names(shelf: Shelf, audit: Audit, home: Path, tmp_path: Path) -> None:
    """A folder beside it, a link out of it, a repository's name that climbs: nothing of them is opened."""
    named = tmp_path / "named"
    shutil.copytree(shelf.family("llama"), named / "model")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "config.json").write_text("{}", encoding="utf-8")
    requests = [
        {"command": "list-models", "folder": str(named)},
        {"command": "load-model", "model_path": str(named / "model")},
        {"command": "load-model", "repo_id": f"../../../{outside.name}"},
        {"command": "load-model", "repo_id": str(outside)},
    ]
    env = {**audit.environment, "HOME": str(home), "HF_HOME": str(tmp_path / "cache")}
    listed, loaded, *refused = run_once(requests, env=env).endings
    assert (len(listed["models"]), loaded["success"], {line["type"] for line in refused}) == (1, True, {"error"})
    roots = [*interpreter(), *SYSTEM, *audit.own, named, tmp_path / "cache"]
    assert {event.path for event in files(audit.of_one()) if not within(event.path, roots)} == set()


@pytest.fixture
def hub() -> Iterator[Hub]:
    """A hub with one small repository."""
    made = Hub()
    made.add("owner/tiny", {"config.json": b'{"model_type": "llama"}', "model.safetensors": b"0" * 5000})
    yield made
    made.close()


def test_only_the_child_of_a_download_opens_sockets(hub: Hub, audit: Audit, tmp_path: Path) -> None:
    """The worker starts it, and writes none of the files itself."""
    env = {**audit.environment, "HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "home")}
    to = tmp_path / "to"
    with Worker(env=env) as worker:
        worker.demand({"command": "download-model", "repo_id": "owner/tiny", "destination": str(to), "id": "get"})
        number = worker.process.pid
    events = audit.events()
    own = events.pop(number)
    (child,) = events.values()
    assert [event for event in own if event.name.startswith("socket.") or event.writes] == []
    assert len([event for event in own if event.name == "subprocess.Popen"]) == 1
    assert "socket.connect" in {event.name for event in child}
    assert "socket.bind" not in {event.name for event in child}
    assert [event for event in child if event.starts_a_process] == []
    written = [event.path for event in child if event.writes]
    assert written
    # A bare name is one in a folder that it holds open.
    assert [path for path in written if not within(path, [to, "/dev"]) and Path(path).name != path] == []


# Code in model folders

TEMPTING = ("tokenizer.py", "json.py", "config.py", "sitecustomize.py", "__init__.py", "modeling_llama.py", "custom.py")


def tempting(folder: Path) -> Path:
    """The same folder with code under names that someone might import, each of which leaves a trace when it runs."""
    trap = f"open({str(folder / RAN)!r}, 'w')\n"
    for name in TEMPTING:
        (folder / name).write_text(trap, encoding="utf-8")
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch " + os.fsencode(folder / RAN) + b"'\ntR.")
    return folder


@pytest.mark.parametrize("name", ["llama", "phi3", "auto_map", "model_file", "pickle_only"])
def test_no_code_of_a_model_folder_is_even_looked_at(shelf: Shelf, audit: Audit, tmp_path: Path, name: str) -> None:
    """Whether the folder is loaded or refused: none of it is imported, compiled, run or unpickled."""
    sound = name in ("llama", "phi3")
    folder = tmp_path / "model"
    shutil.copytree(shelf.family(name) if sound else shelf.broken(name), folder)
    load = {"command": "load-model", "model_path": str(tempting(folder))}
    list_models = {"command": "list-models", "folder": str(folder)}
    listed, loaded = run_once([list_models, load], env=audit.environment).endings
    assert (listed["type"], loaded["type"]) == ("response", "response" if sound else "error")
    events = audit.of_one()
    assert not (folder / RAN).exists()
    code = [e for e in events if e.name in ("exec", "compile") and within(e.path, [folder])]
    opened = [e.path for e in events if e.name == "open" and within(e.path, [folder])]
    assert code == []
    assert [path for path in opened if path.endswith((".py", ".pyc", ".bin"))] == []
    assert f"{folder / 'config.json'}" in opened
    assert [e for e in events if e.name == "import" and within(str(e.arguments[1] or "/"), [folder])] == []
    assert [e for e in events if e.name == "pickle.find_class"] == []


ESCAPES = (
    "{{ cycler.__init__.__globals__.os.system('touch RAN') }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{% for m in messages %}{{ m.update(role='system') }}{% endfor %}",
)


@pytest.mark.parametrize("template", ESCAPES)
def test_a_chat_template_stays_in_its_sandbox(shelf: Shelf, tmp_path: Path, template: str) -> None:
    """What reaches for Python, or for the messages themselves, is no template: the folder is refused."""
    folder = tmp_path / "model"
    shutil.copytree(shelf.family("llama"), folder)
    trace = folder / RAN
    (folder / "chat_template.jinja").write_text(template.replace("RAN", str(trace)), encoding="utf-8")
    (line,) = run_once([{"command": "load-model", "model_path": str(folder)}]).endings
    assert (line["type"], line.get("code"), trace.exists()) == ("error", "model_invalid", False)


def _99_times(first: str, step: str) -> str:
    return f"{{% set n = namespace(x={first}) %}}{{% for i in range(99) %}}{{% set n.x = {step} %}}{{% endfor %}}"


def _a_loop(then: str) -> str:
    return f"{{% for i in range(99999) %}}{then}{{% endfor %}}"


BOMBS = {
    "nested loops": _a_loop(_a_loop("")),
    "a loop that finds nothing": _a_loop("{% for j in range(99999) if j < 0 %}{% endfor %}"),
    "a loop of its own": "{% for i in range(9) recursive %}{% if loop.depth < 40 %}{{ loop(range(9)) }}{% endif %}"
    "{% endfor %}",
    "macros": "{% macro m(n) %}{% if n < 60 %}{{ m(n + 1) }}{{ m(n + 1) }}{% endif %}{% endmacro %}{{ m(0) }}",
    "a long list": "{% set x = [0] * 300000000 %}{{ x|length }}",
    "a long text": "{{ 'a' * 2000000000 }}",
    "a text that doubles": _99_times("'a'", "n.x ~ n.x"),
    "a list that doubles": _99_times("[]", "[n.x, n.x]") + "{{ n.x }}",
    "a key that doubles": _99_times("()", "(n.x, n.x)") + "{{ {}[n.x] }}",
    "a comparison": _99_times("[[], []]", "[[n.x[0], n.x[0]], [n.x[1], n.x[1]]]") + "{{ n.x[0] == n.x[1] }}",
    "a wide field": "{{ '%099999999d' % 1 }}",
    "a wide field of a method": "{{ '{:0999999999d}'.format(1) }}",
    "a wide field of a filter": "{{ 'a'|center(999999999) }}",
    "a large power": "{{ 9 ** (9 ** 9) }}",
    "a replacement": "{% set a = 'a' * 99999 %}{{ a.replace('a', a) }}",
    "a joined sequence": "{{ range(99999)|map('string')|join('a' * 99999) }}",
    "much in a loop": "{% set a = 'a' * 99999 %}" + _a_loop("{{ a }}"),
    "an indent": "{{ [1]|tojson(indent=999999999) }}",
    "a template of megabytes": "{{ x }}" * 500_000,
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_chat_template_that_works_without_end_is_refused(
    shelf: Shelf, server: Server, tmp_path: Path, name: str
) -> None:
    """The folder is refused for its template, and the model before it answers."""
    folder = shutil.copytree(shelf.family("llama"), tmp_path / "model")
    (folder / "chat_template.jinja").write_text(BOMBS[name] + "{{ messages[0].content }}", encoding="utf-8")
    worker = server.with_model(shelf.family("llama"))
    line = worker.ask({"command": "load-model", "model_path": str(folder)})
    assert (line.get("code"), line["data"].get("file")) == ("model_invalid", "chat_template"), line
    assert worker.demand({"command": "generate", "prompt": "x", "max_tokens": 1})["usage"]["output_tokens"] == 1


def test_a_chat_template_that_goes_off_later_fails_its_request(shelf: Shelf, tmp_path: Path) -> None:
    """It may behave while it is tried out."""
    folder = shutil.copytree(shelf.family("llama"), tmp_path / "model")
    template = "{% if messages|length > 1 %}" + BOMBS["nested loops"] + "{% endif %}{{ messages[-1].content }}"
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    with Worker("--model", str(folder)) as worker:
        assert worker.ask({"command": "generate", "messages": turns})["code"] == "invalid_params"
        assert worker.demand({"command": "generate", "prompt": "x", "max_tokens": 1})["usage"]["output_tokens"] == 1


# The log

DOCUMENT, OPTION, TOKEN = "Xylophone-4711", "Quetzal-0815", "hf_TokenOfMine42"
TOLD: list[dict[str, Any]] = [
    {"command": "generate-tags", "content": DOCUMENT, "vocabulary": [OPTION], "language": OPTION},
    {"command": "generate-tags", "content": DOCUMENT, "vocabulary": [f"{OPTION}\n"]},
    {"command": "generate-tags", "content": {DOCUMENT: DOCUMENT}},
    {"command": "summarize", "content": DOCUMENT, "language": OPTION, "max_words": 5},
    {"command": "summarize", "content": DOCUMENT, "style": OPTION},
    {"command": "summarize", "content": [DOCUMENT]},
    {"command": "summarize", "content": f"{DOCUMENT} " * 3, "timeout_s": 1e-6},
    {"command": "generate", "prompt": DOCUMENT, "system": OPTION, "stop": [OPTION], "choices": [OPTION]},
    {"command": "generate", "prompt": DOCUMENT, "schema": {"enum": [OPTION]}, "max_tokens": 2},
    {"command": "generate", "prompt": DOCUMENT, "schema": {"type": OPTION}},
    {"command": "generate", "prompt": DOCUMENT, "schema": {"pattern": f"({OPTION}", "type": "string"}},
    {"command": "generate", "prompt": f"{DOCUMENT} " * 30_000},
    {"command": "generate", "prompt": {"text": DOCUMENT}},
    {"command": "generate", "messages": [{"role": "user", "content": DOCUMENT}], "max_tokens": 2},
    {"command": "generate", "messages": [{"role": "king", "content": DOCUMENT}]},
    {"command": "generate", "messages": [{"role": "system", "content": DOCUMENT}], "thinking": True},
    {"command": "generate", "prompt": DOCUMENT, "unheard_of": OPTION},
]
ANSWER = ("tags", "summary", "text", "json")


def test_neither_texts_nor_tokens_are_in_the_log(hub: Hub, tmp_path: Path) -> None:
    """Not at any level, not where a request fails; and no line holds the token, nor a document but in its answer."""
    raw = f'{{"command":"generate","prompt":"{DOCUMENT}"\n'.encode()
    hub.tokens.add(TOKEN)
    hub.add("owner/closed", {"config.json": b"{}"}).private = True
    fetch = [{"command": "download-model", "repo_id": name} for name in ("owner/tiny", "owner/closed", "owner/absent")]
    env = {"HF_TOKEN": TOKEN, "HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "cache")}
    with Worker("--model", "demo", "--log-level", "debug", env=env) as worker:
        worker.send(*TOLD, *fetch)
        worker.send_bytes(raw)
        finished = worker.finish()
    assert {line["type"] for line in finished.endings} == {"response", "error"}
    got = [line for line in finished.endings if line["command"] == "download-model"]
    assert [line.get("code", "fetched") for line in got] == ["fetched", "repo_not_found", "repo_not_found"]
    assert {request.headers.get("authorization") for request in hub.requests if request.origin == "hub"} == {
        f"Bearer {TOKEN}"
    }
    assert [word for word in (DOCUMENT, OPTION, TOKEN) if word in finished.stderr] == []
    for line in finished.endings:
        said = {name: value for name, value in line.items() if name not in ANSWER}
        said.get("data", {}).pop("text", None)
        assert DOCUMENT not in str(said), line
        assert TOKEN not in str(line), line


# The page


def test_every_test_that_security_md_names_is_there() -> None:
    """A promise whose proof is gone is no promise."""
    named = set(re.findall(r"`(tests/[\w/.]+)`", (REPOSITORY / "SECURITY.md").read_text(encoding="utf-8")))
    assert len(named) > 5
    assert [name for name in sorted(named) if not (REPOSITORY / name).exists()] == []
