"""Which proxy a request goes through: the environment's (as curl and the hub's library read it), else the system's.

`urllib` knows no `ALL_PROXY` and no networks in `NO_PROXY`, so the worker reads the environment itself (2026-11-21).
"""

from __future__ import annotations

import ipaddress
import re
from base64 import b64encode
from collections.abc import Mapping
from fnmatch import fnmatchcase
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, getproxies_environment, proxy_bypass

from msgspec import Struct

from mlx_sidecar.control_characters import CONTROLS
from mlx_sidecar.errors import NoConnection


class Proxy(Struct, frozen=True):
    """An HTTP proxy, and the variable that names it."""

    address: str
    source: str
    authorization: str | None

    def __str__(self) -> str:
        """For error messages: without user and password."""
        return f"{self.address} ({self.source})"


def proxy_for(scheme: str, host: str, port: int, environment: Mapping[str, str]) -> Proxy | None:
    """The way to an address; None is the direct one. Raises NoConnection for a proxy that can't be used."""
    named = _named(scheme, environment)
    if named is not None:
        return None if _is_excepted(host, port, _first(environment, "no_proxy")) else _checked(*named, host)
    # Only macOS has others, and only where the environment names none.
    if getproxies_environment() or not (system := getproxies()) or proxy_bypass(host):
        return None
    value = system.get(scheme) or system.get("socks")
    return _checked("the system's settings", value, host) if value else None


def _named(scheme: str, environment: Mapping[str, str]) -> tuple[str, str] | None:
    """The variable and its value. An empty one in lower case switches off the one in upper case."""
    for name in (f"{scheme}_proxy", "all_proxy"):
        # A web server gives a header `Proxy:` of its client's to what it starts under the name HTTP_PROXY.
        is_spoofed = name == "http_proxy" and "REQUEST_METHOD" in environment
        for variable in (name,) if name in environment or is_spoofed else (name.upper(),):
            if value := environment.get(variable, "").strip():
                return variable, value
    return None


def _first(environment: Mapping[str, str], name: str) -> str:
    return environment.get(name, environment.get(name.upper(), ""))


def _checked(source: str, value: str, host: str) -> Proxy:
    shown = value.rpartition("@")[2][:200]
    instead = f"set it to an HTTP proxy, http://host:port, or put '{host}' into NO_PROXY to go past it"
    try:
        parts = urlsplit(value if "://" in value else f"http://{value}")
        name, port = parts.hostname, parts.port
    except ValueError:
        name, port = None, None
    else:
        if parts.scheme.startswith("socks"):
            raise NoConnection(f"the proxy '{shown}' ({source}) is a SOCKS proxy, which downloads can't use; {instead}")
        if parts.scheme == "https":
            raise NoConnection(
                f"the proxy '{shown}' ({source}) is one that is spoken to by TLS, which downloads can't; {instead}"
            )
        if parts.scheme != "http":
            name = None
    if not name or re.search(rf"[\s{CONTROLS}]", name):
        raise NoConnection(f"the proxy '{shown}' ({source}) is none that downloads can use; {instead}")
    address = f"[{name}]" if ":" in name else name
    return Proxy(f"{address}:{port or 80}", source, _authorization(parts.username, parts.password))


def _authorization(user: str | None, password: str | None) -> str | None:
    if user is None:
        return None
    return "Basic " + b64encode(f"{unquote(user)}:{unquote(password or '')}".encode()).decode()


def _is_excepted(host: str, port: int, exceptions: str) -> bool:
    return any(_covers(entry, host.lower().rstrip("."), port) for entry in re.split(r"[,\s]+", exceptions) if entry)


def _covers(entry: str, host: str, port: int) -> bool:
    """`*`, a name (with all below it), an address, a network (10.0.0.0/8), each but the last with a port if need be."""
    entry = entry.lower().rpartition("://")[2]
    address = _address(host)
    if "/" in entry:
        try:
            return address is not None and address in ipaddress.ip_network(entry, strict=False)
        except ValueError:
            return False
    name, stated_port = _with_port(entry)
    if stated_port is not None and stated_port != str(port):
        return False
    if address is not None and (stated := _address(name)) is not None:
        return address == stated
    name = name.removeprefix("*.").strip(".") if name != "*" else name
    return host == name or host.endswith(f".{name}") or ("*" in name and fnmatchcase(host, name))


def _with_port(entry: str) -> tuple[str, str | None]:
    if bracketed := re.fullmatch(r"\[(?P<host>[^\]]*)\](?::(?P<port>\d+))?", entry):
        return bracketed["host"], bracketed["port"]
    name, colon, port = entry.partition(":")
    # More than one colon is an address of IPv6.
    return (name, port) if colon and ":" not in port else (entry, None)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
