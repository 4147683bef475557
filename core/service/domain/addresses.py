"""Addresses as settings and HTTP headers write them: lists with commas, networks, hosts with a port.

Pure; resolves no name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Self

from core.service.domain.url_ports import DEFAULT_PORTS

Network = IPv4Network | IPv6Network
_CLIENT_PREFIX = 64
_PATH = re.compile(r"[A-Za-z0-9._~/%!$&'()*+,;=:@-]*", re.ASCII)
_AUTHORITY = re.compile(r"(?P<host>[A-Za-z0-9._~-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::(?P<port>\d{0,5}))?", re.ASCII)


@dataclass(frozen=True)
class Authority:
    """`host:port` of a URL or Host header (RFC 3986, 3.2). IPv6 addresses keep their brackets; empty ports are none."""

    host: str
    port: int | None

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """None where `text` is no host with a port or without one."""
        match = _AUTHORITY.fullmatch(text)
        port = int(match["port"]) if match and match["port"] else None
        if match is None or (port or 0) > 65535:
            return None
        if match["host"].startswith("[") and address_of(match["host"]) is None:
            return None
        return cls(match["host"], port)

    def __str__(self) -> str:
        return self.host if self.port is None else f"{self.host}:{self.port}"


def items_of(text: str | None) -> tuple[str, ...]:
    """The items of a list with commas; none where it is unset or empty."""
    return tuple(item for part in (text or "").split(",") if (item := part.strip()))


def networks_of(text: str | None) -> tuple[Network, ...]:
    """Addresses and networks of a list with commas. Raises ValueError naming one that is neither."""
    return tuple(ip_network(item) for item in items_of(text))


def networks(text: str) -> str:
    """`text` where it is a list of addresses and networks. Raises ValueError."""
    networks_of(text)
    return text


def host_names(text: str) -> str:
    """`text` where it is a list of host names, `*.name` or `*`. Raises ValueError naming an item that is none."""
    for item in items_of(text):
        if item != "*" and (Authority.parse(item.removeprefix("*.")) or Authority("", 0)).port is not None:
            raise ValueError(f"{item!r} is no host name; give names without scheme and port, such as video.example")
    return text


def base_url(text: str) -> str:
    """`text` without slashes at its end, where links can begin with it: http(s), a host, and a path or none. Raises
    ValueError with a sentence for the operator."""
    scheme, _, rest = text.partition("://")
    authority, slash, path = rest.partition("/")
    usable = scheme.lower() in DEFAULT_PORTS and Authority.parse(authority) and _PATH.fullmatch(slash + path)
    if text and not usable:
        raise ValueError("give http(s)://, a host and at most a path, such as https://video.example/longtake")
    return text.rstrip("/")


def origins(text: str) -> str:
    """`text` where it is a list of web origins (scheme, host, port: RFC 6454) or `*`. Raises ValueError."""
    for item in items_of(text):
        scheme, _, authority = item.rstrip("/").partition("://")
        if item != "*" and (not scheme.isalnum() or Authority.parse(authority) is None):
            raise ValueError(f"{item!r} is no origin; give scheme and host, such as https://app.example")
    return text


def client_network(host: str) -> str:
    """Who counts as one client at the address `host`: an IPv4 address, also where it is written as IPv6, and of IPv6
    the /64 that one client usually has (RFC 6177). What is no address counts as it is."""
    address = address_of(host)
    if address is None:
        return host
    ip = ip_address(address)
    return address if isinstance(ip, IPv4Address) else str(IPv6Network((int(ip), _CLIENT_PREFIX), strict=False))


def is_address(host: str) -> bool:
    """`host`, without a port and brackets, is an IP address and no name."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def address_of(text: str) -> str | None:
    """The IP address in `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]:80`; None where there is none.

    An IPv4 address written as IPv6 (::ffff:192.0.2.1), as sockets for both kinds show it, comes back as IPv4.
    """
    bare = text[1:].partition("]")[0] if text.startswith("[") else text
    bare = bare.partition(":")[0] if bare.count(":") == 1 else bare
    try:
        address = ip_address(bare)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)
