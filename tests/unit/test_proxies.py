"""Proxies: every variable that names one is honoured or refused by name, exceptions hold, and no password is shown."""

from __future__ import annotations

import base64
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from mlx_sidecar.errors import NoConnection, SidecarError
from mlx_sidecar.hub.failures import RetryableError
from mlx_sidecar.hub.http_client import HttpClient
from mlx_sidecar.hub.proxies import proxy_for

P = "http://proxy:3128"
VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "REQUEST_METHOD")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the machine on which this runs."""
    for name in VARIABLES:
        for variable in (name, name.upper()):
            monkeypatch.delenv(variable, raising=False)


def way(environment: dict[str, str], url: tuple[str, str, int] = ("https", "huggingface.co", 443)) -> str | None:
    """The proxy's address and the variable that names it."""
    proxy = proxy_for(*url, environment)
    return str(proxy) if proxy is not None else None


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"HTTPS_PROXY": P}, "proxy:3128 (HTTPS_PROXY)"),
        ({"https_proxy": P, "HTTPS_PROXY": "http://other"}, "proxy:3128 (https_proxy)"),
        ({"ALL_PROXY": P}, "proxy:3128 (ALL_PROXY)"),
        ({"all_proxy": P}, "proxy:3128 (all_proxy)"),
        ({"ALL_PROXY": "http://other:1", "HTTPS_PROXY": P}, "proxy:3128 (HTTPS_PROXY)"),
        ({"https_proxy": "", "HTTPS_PROXY": P}, None),
        ({"https_proxy": "", "HTTPS_PROXY": "http://other:1", "ALL_PROXY": P}, "proxy:3128 (ALL_PROXY)"),
        ({"HTTP_PROXY": P}, None),
        ({"HTTPS_PROXY": "proxy:3128"}, "proxy:3128 (HTTPS_PROXY)"),
        ({"HTTPS_PROXY": " http://proxy:3128/ "}, "proxy:3128 (HTTPS_PROXY)"),
        ({"HTTPS_PROXY": "http://proxy"}, "proxy:80 (HTTPS_PROXY)"),
        ({"HTTPS_PROXY": "HTTP://[::1]:3128"}, "[::1]:3128 (HTTPS_PROXY)"),
        ({"HTTPS_PROXY": "http://user:secret@proxy:3128"}, "proxy:3128 (HTTPS_PROXY)"),
        ({}, None),
    ],
)
def test_the_environment_says_which_proxy(environment: dict[str, str], expected: str | None) -> None:
    """The scheme's own before the one for all, in lower case before upper case."""
    assert way(environment) == expected


def test_a_header_of_a_servers_client_names_no_proxy() -> None:
    """HTTP_PROXY in what a client server starts is its client's word."""
    url = ("http", "hub", 80)
    assert way({"HTTP_PROXY": P}, url) == "proxy:3128 (HTTP_PROXY)"
    assert way({"HTTP_PROXY": P, "REQUEST_METHOD": "GET"}, url) is None
    assert way({"http_proxy": P, "REQUEST_METHOD": "GET"}, url) == "proxy:3128 (http_proxy)"


@pytest.mark.parametrize(
    ("exceptions", "host", "port", "is_direct"),
    [
        ("*", "huggingface.co", 443, True),
        ("a.com, *", "huggingface.co", 443, True),
        ("huggingface.co", "huggingface.co", 443, True),
        ("huggingface.co", "cdn.huggingface.co", 443, True),
        (".huggingface.co", "cdn.huggingface.co", 443, True),
        (".huggingface.co", "huggingface.co", 443, True),
        ("*.huggingface.co", "cdn.huggingface.co", 443, True),
        ("HuggingFace.co.", "huggingface.co", 443, True),
        ("face.co", "huggingface.co", 443, False),
        ("huggingface.co.evil", "huggingface.co", 443, False),
        ("a.com,,  huggingface.co", "huggingface.co", 443, True),
        ("a.com huggingface.co", "huggingface.co", 443, True),
        ("huggingface.co:443", "huggingface.co", 443, True),
        ("huggingface.co:8443", "huggingface.co", 443, False),
        ("https://huggingface.co", "huggingface.co", 443, True),
        ("10.0.0.0/8", "10.1.2.3", 443, True),
        ("10.0.0.1/8", "10.1.2.3", 443, True),
        ("10.0.0.0/8", "11.1.2.3", 443, False),
        ("10.0.0.0/8", "huggingface.co", 443, False),
        ("10.0.0.0/99", "10.1.2.3", 443, False),
        ("192.168.0.0/255.255.0.0", "192.168.7.7", 443, True),
        ("fd00::/8", "fd12::1", 443, True),
        ("fd00::/8", "10.1.2.3", 443, False),
        ("10.1.2.3", "10.1.2.3", 443, True),
        ("10.1.2.3:80", "10.1.2.3", 443, False),
        ("192.168.*", "192.168.7.7", 443, True),
        ("::1", "::1", 443, True),
        ("[::1]", "0:0::1", 443, True),
        ("[::1]:443", "::1", 443, True),
        ("[::1]:80", "::1", 443, False),
        ("", "huggingface.co", 443, False),
        (",", "huggingface.co", 443, False),
        ("[", "huggingface.co", 443, False),
        (".", "huggingface.co", 443, False),
    ],
)
def test_exceptions_are_names_addresses_networks_and_ports(
    exceptions: str, host: str, port: int, is_direct: bool
) -> None:
    """Of whatever proxy the environment names."""
    for name in ("no_proxy", "NO_PROXY"):
        assert (way({"ALL_PROXY": P, name: exceptions}, ("https", host, port)) is None) == is_direct


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("socks5://user:secret@proxy:1080", "'proxy:1080' (ALL_PROXY) is a SOCKS proxy"),
        ("socks5h://proxy:1080", "SOCKS"),
        ("SOCKS4://proxy", "SOCKS"),
        ("socks://proxy", "SOCKS"),
        ("https://user:secret@proxy:3129", "'proxy:3129' (ALL_PROXY) is one that is spoken to by TLS"),
        ("ftp://user:secret@proxy", "'proxy' (ALL_PROXY) is none"),
        ("http://user:secret@", "is none"),
        ("http://user:secret@proxy:port", "'proxy:port' (ALL_PROXY) is none"),
        ("http://user:secret@proxy:99999", "is none"),
        ("http://user:secret@[", "is none"),
        ("://", "is none"),
    ],
)
def test_a_proxy_that_can_not_be_used_is_refused_by_name(value: str, words: str) -> None:
    """Nothing goes past it, and the sentence says what to do and no password."""
    with pytest.raises(NoConnection) as refused:
        way({"ALL_PROXY": value})
    assert words in refused.value.message
    assert "'huggingface.co' into NO_PROXY" in refused.value.message
    assert "secret" not in refused.value.message


# Asking through one


class Listener(socketserver.ThreadingTCPServer):
    """A proxy that gives one answer to everybody, and keeps what it was asked."""

    daemon_threads = True

    def __init__(self, answer: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Asked)
        self.answer, self.heads = answer, list[str]()

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.server_address[1]}"


class Asked(socketserver.StreamRequestHandler):
    """One connection."""

    server: Listener

    def handle(self) -> None:
        """Read the head of a request and answer it."""
        head = b""
        while line := self.rfile.readline().strip():
            head += line + b"\n"
        self.server.heads.append(head.decode())
        self.wfile.write(self.server.answer)


@contextmanager
def listening(answer: bytes) -> Iterator[Listener]:
    """While it listens."""
    with Listener(answer) as made:
        threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True).start()
        yield made
        made.shutdown()


def asked(url: str) -> bytes:
    """What comes of an address."""
    with HttpClient({"user-agent": "test", "authorization": "Bearer token"}, 5).get(url, "'x'") as answer:
        return answer.read()


def failure(url: str) -> SidecarError:
    """What it ends with after all tries."""
    try:
        asked(url)
    except RetryableError as broken:
        with pytest.raises(NoConnection) as ended:
            broken.wait(99, 0.25)
        return ended.value
    except NoConnection as refused:
        return refused
    raise AssertionError("it answered")


def test_what_is_for_all_schemes_is_gone_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the user and password that stand there, which go no further."""
    with listening(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") as proxy:
        monkeypatch.setenv("ALL_PROXY", f"http://user:p%40ss@{proxy.address}")
        assert asked("http://hub.invalid/x") == b"ok"
        monkeypatch.setenv("NO_PROXY", "127.0.0.0/8")
        assert asked(f"http://{proxy.address}/direct") == b"ok"
    through, direct = proxy.heads
    assert through.startswith("GET http://hub.invalid/x HTTP/1.1\n")
    assert base64.b64encode(b"user:p@ss").decode() in through
    assert direct.startswith("GET /direct HTTP/1.1\n")
    assert "Proxy-" not in direct


def test_a_tunnel_gets_the_password_and_the_hubs_token_does_not_go_to_the_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The token is for who is at the other end."""
    with listening(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n") as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:secret@{proxy.address}")
        message = failure("https://hub.invalid/x").message
    assert proxy.heads[0].startswith("CONNECT hub.invalid:443 HTTP/1.")
    assert base64.b64encode(b"user:secret").decode() in proxy.heads[0]
    assert "token" not in proxy.heads[0]
    assert f"{proxy.address} (HTTPS_PROXY) doesn't take the user and password" in message
    assert "secret" not in message


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_wants_a_password_says_where_to_put_it(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    """At once: asking again would end the same."""
    with listening(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n") as proxy:
        monkeypatch.setenv("ALL_PROXY", proxy.address)
        with pytest.raises(NoConnection, match="http://user:password@host:port") as refused:
            asked(f"{scheme}://hub.invalid/x")
    assert f"the proxy {proxy.address} (ALL_PROXY)" in refused.value.message


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 403 Forbidden\r\n\r\n", b"HTTP/1.1 502 Bad Gateway\r\n\r\n", b"nonsense\r\n", b""]
)
def test_a_proxy_that_makes_no_way_is_named(monkeypatch: pytest.MonkeyPatch, answer: bytes) -> None:
    """Whatever it says instead."""
    with listening(answer) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:secret@{proxy.address}")
        message = failure("https://hub.invalid/x").message
    assert f"the proxy {proxy.address} (HTTPS_PROXY)" in message
    assert "secret" not in message


def test_a_proxy_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what the system says of it."""
    with listening(b"") as proxy:
        address = proxy.address
    monkeypatch.setenv("all_proxy", f"http://user:secret@{address}")
    for scheme in ("http", "https"):
        message = failure(f"{scheme}://hub.invalid/x").message
        assert f"through the proxy {address} (all_proxy): Connection refused" in message
        assert "secret" not in message
    monkeypatch.setenv("all_proxy", "http://proxy.invalid:3128")
    assert "the proxy proxy.invalid:3128 (all_proxy)" in failure("https://hub.invalid/x").message


def test_a_socks_proxy_is_not_gone_past(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub isn't asked in another way than it was set."""
    with listening(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") as hub:
        monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
        assert "SOCKS" in failure(f"http://{hub.address}/x").message
    assert hub.heads == []
