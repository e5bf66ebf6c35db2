"""The Hugging Face Hub on loopback: serves made-up repositories, logs every request, and fails where a test says so.

Like the real one, `Hub` has two origins: `url` answers for the API and for plain files, and sends whoever asks for a
large (LFS) file on to a signed address at `storage_url`. Answers are as huggingface_hub 2.4 and the real Hub have them.
Nothing waits for a time except `bytes_per_s`, and `close` ends every connection, also the held ones.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import socket
import struct
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, field, replace
from fnmatch import fnmatchcase
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, unquote

BEFORE_HEAD = -1
RATE_LIMITED = {"RateLimit": '"api";r=0;t=1', "RateLimit-Policy": '"fixed window";"api";q=500;w=300'}
_ALWAYS = {"X-Request-Id": "Root=1-6a5b4c3d-0123456789abcdef", "RateLimit": '"api";r=499;t=295'}
_BLOCK = 1_048_573  # A prime: a resume that is off by a round number of bytes meets other bytes.
_ROUTE = re.compile(r"(/api/models)?/([^/]+(?:/[^/]+)??)(?:/(revision|tree|resolve)/([^/]+)/?(.*))?")


class BigFile:
    """`head`, and then pseudo-random bytes up to `size`, never whole in memory. The Hub tells `claimed` as digest."""

    def __init__(self, size: int = 0, seed: int = 0, head: bytes = b"", claimed: str | None = None) -> None:
        self.size = max(size, len(head))
        self.claimed = claimed
        self._head = memoryview(head)
        self._twice = memoryview(random.Random(seed).randbytes(_BLOCK) * 2 if size > len(head) else b"")
        self._digests: dict[bool, str] = {}

    def piece(self, offset: int, limit: int = _BLOCK) -> memoryview:
        """Some of the bytes from `offset` on: one at least, `limit` at most."""
        limit = min(limit, self.size - offset, _BLOCK)
        if offset < len(self._head):
            return self._head[offset : offset + limit]
        return self._twice[offset % _BLOCK : offset % _BLOCK + limit]

    def digest(self, lfs: bool) -> str:
        """The SHA-256, or the name of a git blob of this content."""
        if lfs not in self._digests:
            state, at = hashlib.sha256() if lfs else hashlib.sha1(b"blob %d\0" % self.size), 0
            while at < self.size:
                state.update(piece := self.piece(at))
                at += len(piece)
            self._digests[lfs] = state.hexdigest()
        return self._digests[lfs]


@dataclass
class Repo:
    """A model repository; a test may change anything at any time. `commit` and its `entries` are those of main.

    Paths that end with one of `lfs` are LFS files, `gated` is false, "auto" or "manual", and `readers` are the tokens
    that may read it while it's gated or private.
    """

    id: str
    lfs: tuple[str, ...] = (".safetensors",)
    private: bool = False
    gated: bool | str = False
    readers: set[str] = field(default_factory=set)
    page_size: int = 1000
    commit: str = ""
    entries: dict[str, BigFile] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    commits: dict[str, dict[str, BigFile]] = field(default_factory=dict)

    def add_commit(self, changes: Mapping[str, bytes | BigFile | None], revision: str = "main") -> str:
        """Move a branch (a new one from main) to a commit with these changes, None to remove, and return the commit."""
        base = self.commits.get(self.refs.get(revision, self.commit), {})
        new = {path: BigFile(head=each) if isinstance(each, bytes) else each for path, each in changes.items()}
        self.refs[revision] = commit = hashlib.sha1(f"{self.id} {len(self.commits)}".encode()).hexdigest()
        self.commits[commit] = {path: file for path, file in {**base, **new}.items() if file is not None}
        self.commit, self.entries = self.refs["main"], self.commits[self.refs["main"]]
        return commit

    def digest(self, path: str, commit: str = "") -> str:
        """What the Hub tells as digest: the SHA-256 of an LFS file, the git name of a plain one."""
        file = self.commits[commit or self.commit][path]
        return file.digest(path.endswith(self.lfs)) if file.claimed is None else file.claimed

    def tree(self, commit: str) -> list[dict[str, Any]]:
        """The whole listing, folders last. The `oid` of an LFS file is that of the pointer to it, which git holds."""
        listing: list[dict[str, Any]] = []
        for path, file in self.commits[commit].items():
            digest, told = self.digest(path, commit), {"type": "file", "path": path, "size": file.size}
            pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {file.size}\n".encode()
            lfs = {"oid": digest, "size": file.size, "pointerSize": len(pointer)}
            large = {"oid": BigFile(head=pointer).digest(False), "lfs": lfs}
            listing.append({**told, **(large if path.endswith(self.lfs) else {"oid": digest})})
        above = {path[:at] for path in self.commits[commit] for at, sign in enumerate(path) if sign == "/" and at}
        return listing + [{"type": "directory", "path": path, "size": 0, "oid": "0" * 40} for path in sorted(above)]

    def info(self, commit: str, blobs: bool) -> dict[str, Any]:
        """The model info; with `blobs` it has sizes and digests, too."""
        siblings: list[dict[str, Any]] = [{"rfilename": path} for path in self.commits[commit]]
        for sibling, file in zip(siblings, self.tree(commit) if blobs else (), strict=False):
            lfs = {"lfs": {**file["lfs"], "sha256": file["lfs"]["oid"]}} if "lfs" in file else {}
            sibling.update(size=file["size"], blobId=file["oid"], **lfs)
        told = {"_id": commit[:24], "id": self.id, "modelId": self.id, "sha": commit, "siblings": siblings}
        return {**told, "private": self.private, "gated": self.gated, "disabled": False, "tags": [], "downloads": 0}


@dataclass
class Request:
    """One request, with header names in small letters, and how much of a body it got: `origin` is hub or storage,
    `path` that of the URL without escapes, and `file` the path in the repository when a file was asked for at either.
    """

    origin: str
    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    file: str | None = None
    status: int = 0
    sent: int = 0

    def fits(self, path: str = "*", method: str = "*", origin: str = "*") -> bool:
        """Whether these patterns fit; that of the path may fit `path` or `file`."""
        named = fnmatchcase(self.path, path) or (self.file is not None and fnmatchcase(self.file, path))
        return named and fnmatchcase(self.method, method) and fnmatchcase(self.origin, origin)


@dataclass(eq=False)
class Fault:
    """What befalls the next `times` requests (None: all) that fit; only the first fault that fits a request counts.

    Of any kind: `status` and `body` go out in place of the answer, `headers` in place of the usual ones (None leaves
    one out), and `hold=BEFORE_HEAD` sends nothing until `release`. A fault with none of these fits only a GET that is
    answered with content, so never the redirect of an LFS file: `cut` closes the connection after so many bytes
    (`reset`: not in good order), `hold` sends no more after so many until `release`, `wrong` is where in the file a
    byte goes out wrong, `no_length` sends chunks. `reached` is set as soon as a request is held.
    """

    path: str = "*"
    _: KW_ONLY
    method: str = "*"
    origin: str = "*"
    times: int | None = 1
    status: int = 0
    body: bytes = b""
    headers: Mapping[str, str | None] = field(default_factory=dict)
    cut: int | None = None
    reset: bool = False
    hold: int | None = None
    wrong: int | None = None
    bytes_per_s: float | None = None
    ignore_range: bool = False
    no_length: bool = False
    reached: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    def fits(self, request: Request, status: int) -> bool:
        """Whether it befalls this request, which is to be answered with this status."""
        kind = (request.method == "GET" and status == 200) or self.status or self.headers or self.hold == BEFORE_HEAD
        return bool(kind) and self.times != 0 and request.fits(self.path, self.method, self.origin)

    def anew(self) -> Fault:
        """The same fault, which hasn't befallen anything: parameters of tests are shared between runs."""
        return replace(self, reached=threading.Event(), released=threading.Event())

    def release(self) -> None:
        """Go on from the hold, and never hold again."""
        self.released.set()


_Reply = tuple[int, dict[str, str], BigFile]


def _json(told: object, headers: Mapping[str, str | None], status: int = 200) -> _Reply:
    kept = {name: value for name, value in headers.items() if value}
    return status, {"Content-Type": "application/json", **kept}, BigFile(head=json.dumps(told).encode())


def _error(status: int, code: str, message: str, commit: str = "") -> _Reply:
    headers = {"X-Error-Code": code, "X-Error-Message": message, "X-Repo-Commit": commit}
    return _json({"error": message}, headers, status)


class Hub:
    """The server, listening until `close`. `faults` is the list of what is to go wrong; only `tokens` are valid."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.tokens: set[str] = set()
        self.faults: list[Fault] = []
        self.requests: list[Request] = []
        self._stored: dict[str, tuple[str, BigFile]] = {}
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._held: list[Fault] = []
        self._connections: set[socket.socket] = set()
        listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
        self._addresses = [listener.getsockname() for listener in listeners]
        self.url, self.storage_url = (f"http://127.0.0.1:{port}" for _, port in self._addresses)
        accepting = zip(("hub", "storage"), listeners, strict=True)
        self._threads = [threading.Thread(target=self._accept, args=each, daemon=True) for each in accepting]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """End all connections at once and refuse new ones; harmless when that is done."""
        self._closing.set()
        for fault in list(self._held):
            fault.release()
        for address in self._addresses:
            with suppress(OSError):
                socket.create_connection(address).close()  # Wakes the thread that accepts.
        for connection in list(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    def add(self, repo_id: str, files: Mapping[str, bytes | BigFile]) -> Repo:
        """Add a repository with one commit."""
        repo = self.repos[repo_id] = Repo(repo_id)
        repo.add_commit(files)
        return repo

    def _reply(self, request: Request, raw: str) -> _Reply:
        if request.origin == "storage":
            request.file, file = self._stored.get(request.path, (None, BigFile()))
            if request.file is None or request.query.get("Signature") != [request.path[:6:-1]]:
                return 403, {}, BigFile(head=b"<Error><Code>AccessDenied</Code></Error>")
            etag = hashlib.sha256(raw.encode()).hexdigest()  # Not that of the content, as on the real storage.
            return 200, {"ETag": f'"{etag}"', "Accept-Ranges": "bytes"}, file
        if raw == "/api/agent-harnesses":  # The library asks for it once in each HF_HOME.
            return _json({"standardEnvVars": [], "harnesses": {}}, {})
        match = _ROUTE.fullmatch(raw)
        api, repo_id, call, revision, rest = match.groups() if match else ("", "", "", "", "")
        to_file = call == "resolve"
        if request.method not in ("GET", "HEAD") or bool(api) == to_file:
            return _error(404, "", "Sorry, we can't find the page you are looking for.")
        request.file = unquote(rest) if to_file else None
        repo, token = self.repos.get(repo_id), request.headers.get("authorization", "").removeprefix("Bearer ")
        barred = repo is not None and token not in repo.readers
        if token and token not in self.tokens and not (repo and repo.gated and to_file):
            return _error(401, "", "Invalid credentials in Authorization header")
        if repo is None or (barred and repo.private):
            # The real Hub sends no code with the 401, but the library understands that at https addresses only.
            status, message = (404, "Repository not found") if token else (401, "Invalid username or password.")
            return _error(status, "RepoNotFound", message)
        if barred and repo.gated and to_file:
            status, why = 401, ". You must have access to it and be authenticated to access it. Please log in."
            if token in self.tokens:
                status, why = 403, f" and you are not in the authorized list. Visit {self.url}/{repo_id} to ask for it."
            return _error(status, "GatedRepo", f"Access to model {repo_id} is restricted{why}")
        name = unquote(revision or "main")
        commit = repo.refs.get(name, name)
        if commit not in repo.commits:
            return _error(404, "RevisionNotFound", f"Invalid rev id: {name}")
        if to_file:
            return self._file(repo, commit, unquote(rest))
        if call != "tree":
            return _json(repo.info(commit, "blobs" in request.query), {})
        start = int(request.query.get("cursor", ["0"])[0])
        stop, listing = start + repo.page_size, repo.tree(commit)
        more = f'<{self.url}{raw}?recursive=true&cursor={stop}>; rel="next"' if stop < len(listing) else None
        return _json(listing[start:stop], {"Link": more})

    def _file(self, repo: Repo, commit: str, path: str) -> _Reply:
        file = repo.commits[commit].get(path)
        if file is None:
            return _error(404, "EntryNotFound", "Entry not found", commit)
        told, etag = {"X-Repo-Commit": commit, "Accept-Ranges": "bytes"}, f'"{repo.digest(path, commit)}"'
        if not path.endswith(repo.lfs):
            return 200, {**told, "ETag": etag, "Content-Type": "text/plain; charset=utf-8"}, file
        stored = f"/repos/{hashlib.sha1(f'{commit} {path}'.encode()).hexdigest()}"
        self._stored[stored] = (path, file)
        to = f"{self.storage_url}{stored}?Expires=1893456000&Policy=eyJ_&Signature={stored[:6:-1]}"
        told |= {"X-Linked-Etag": etag, "X-Linked-Size": str(file.size), "Location": to}
        return 302, told, BigFile(head=f"Found. Redirecting to {to}".encode())

    def _accept(self, origin: str, listener: socket.socket) -> None:
        with listener:
            while not self._closing.is_set():
                thread = threading.Thread(target=self._serve, args=(origin, listener.accept()[0]), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, origin: str, connection: socket.socket) -> None:
        with suppress(OSError), connection, connection.makefile("rb") as lines:
            self._connections.add(connection)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while not self._closing.is_set() and (line := lines.readline()):
                method, target, _ = line.decode("latin-1").split()
                raw, _, query = target.partition("?")
                head = iter(lambda: lines.readline().decode("latin-1").strip(), "")
                headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in head)}
                request = Request(origin, method, unquote(raw), parse_qs(query), headers)
                reply = self._reply(request, raw)
                self.requests.append(request)
                if not self._answer(connection, request, reply):
                    break
        self._connections.discard(connection)

    def _answer(self, connection: socket.socket, request: Request, reply: _Reply) -> bool:
        """Send the answer, as far as a fault lets it, and say whether the connection goes on."""
        status, headers, file = reply
        with self._lock:
            fault = next((each for each in self.faults if each.fits(request, status)), Fault())
            fault.times = None if fault.times is None else fault.times - 1
        if fault.hold == BEFORE_HEAD:
            self._wait_at(fault)
        if fault.status:
            status, headers, file = fault.status, {}, BigFile(head=fault.body)
        span, etag = range(file.size), headers.get("ETag")
        asked = re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("range", ""))
        usable = (
            status == 200
            and not fault.status
            and request.headers.get("if-range", etag) == etag
            and not fault.ignore_range
        )
        if asked and any(asked.groups()) and usable:
            first, last = asked.groups()
            start = int(first) if first else max(0, file.size - int(last))
            span = span[start : int(last) + 1 if first and last else file.size]
            status, part = (206, f"{span.start}-{span.stop - 1}") if span else (416, "*")
            headers = {**headers, "Content-Range": f"bytes {part}/{file.size}"}
        length = {"Transfer-Encoding": "chunked"} if fault.no_length else {"Content-Length": str(len(span))}
        told_all = {**(_ALWAYS if request.origin == "hub" else {}), **headers, **length, **fault.headers}
        lines = [f"{name}: {value}\r\n" for name, value in told_all.items() if value is not None]
        request.status = status
        connection.sendall(f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{''.join(lines)}\r\n".encode())
        if request.method != "HEAD":
            self._send(connection, request, file, span, fault)
        return fault.cut is None and request.method in ("GET", "HEAD")

    def _send(self, connection: socket.socket, request: Request, file: BigFile, span: range, fault: Fault) -> None:
        end = len(span) if fault.cut is None else min(len(span), fault.cut)
        step = _BLOCK if fault.bytes_per_s is None else max(1, min(65536, int(fault.bytes_per_s / 20)))
        begun = time.monotonic()
        while True:
            if request.sent == fault.hold:
                self._wait_at(fault)
            if request.sent >= end:
                break
            until = fault.hold if fault.hold is not None and request.sent < fault.hold < end else end
            at = span.start + request.sent
            piece: bytes | memoryview = file.piece(at, min(step, until - request.sent))
            if fault.wrong is not None and at <= fault.wrong < at + len(piece):
                piece = bytes(byte ^ 0xFF if each == fault.wrong else byte for each, byte in enumerate(piece, at))
            connection.sendall(b"%x\r\n%b\r\n" % (len(piece), bytes(piece)) if fault.no_length else piece)
            request.sent += len(piece)
            if fault.bytes_per_s is not None:
                self._closing.wait(max(0.0, begun + request.sent / fault.bytes_per_s - time.monotonic()))
        if fault.no_length and fault.cut is None:
            connection.sendall(b"0\r\n\r\n")
        if fault.reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def _wait_at(self, fault: Fault) -> None:
        self._held.append(fault)
        fault.reached.set()
        if self._closing.is_set() or (fault.released.wait() and self._closing.is_set()):
            raise ConnectionAbortedError
