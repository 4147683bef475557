"""Parses addresses of settings and HTTP headers: comma-separated lists, networks, hosts with a port."""

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
    """`host:port` of a URL or Host header (RFC 3986, 3.2). IPv6 addresses keep their brackets; an empty port is
    None."""

    host: str
    port: int | None

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """None if `text` is not a host, with or without a port."""
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
    """The items of a comma-separated list; () if it is None or empty."""
    return tuple(item for part in (text or "").split(",") if (item := part.strip()))


def networks_of(text: str | None) -> tuple[Network, ...]:
    """Addresses and networks of a comma-separated list. Raises ValueError naming an invalid item."""
    return tuple(ip_network(item) for item in items_of(text))


def networks(text: str) -> str:
    """Validator of settings: `text` unchanged if it is a list of addresses and networks. Raises ValueError."""
    networks_of(text)
    return text


def host_names(text: str) -> str:
    """Validator of settings: `text` unchanged if it lists host names, `*.name` or `*`. Raises ValueError."""
    for item in items_of(text):
        if item != "*" and (Authority.parse(item.removeprefix("*.")) or Authority("", 0)).port is not None:
            raise ValueError(f"{item!r} is not a host name; give names without scheme and port, such as video.example")
    return text


def base_url(text: str) -> str:
    """Validator of settings: `text` without trailing slashes if it is a base URL (http(s), host, optional path). Raises
    ValueError with a message for the operator."""
    scheme, _, rest = text.partition("://")
    authority, slash, path = rest.partition("/")
    usable = scheme.lower() in DEFAULT_PORTS and Authority.parse(authority) and _PATH.fullmatch(slash + path)
    if text and not usable:
        raise ValueError("give http(s)://, a host and optionally a path, such as https://video.example/longtake")
    return text.rstrip("/")


def media_delivery(text: str) -> str:
    """Validator of the setting `media`: proxy, redirect, or a base URL as of `base_url`. Raises ValueError."""
    if text in {"proxy", "redirect"}:
        return text
    try:
        if text:
            return base_url(text)
    except ValueError:
        pass
    raise ValueError("use proxy, redirect, or the base URL of a CDN, such as https://cdn.example/longtake")


def origins(text: str) -> str:
    """Validator of settings: `text` unchanged if it lists web origins (RFC 6454) or `*`. Raises ValueError."""
    for item in items_of(text):
        scheme, _, authority = item.rstrip("/").partition("://")
        if item != "*" and (not scheme.isalnum() or Authority.parse(authority) is None):
            raise ValueError(f"{item!r} is not an origin; give scheme and host, such as https://app.example")
    return text


def client_network(host: str) -> str:
    """The network that counts as one client: an IPv4 address (also if mapped into IPv6), or the /64 of an IPv6 address,
    which one client usually has (RFC 6177). Other text is returned unchanged."""
    address = address_of(host)
    if address is None:
        return host
    ip = ip_address(address)
    return address if isinstance(ip, IPv4Address) else str(IPv6Network((int(ip), _CLIENT_PREFIX), strict=False))


def is_address(host: str) -> bool:
    """Whether `host` (no port, no brackets) is an IP address rather than a name."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens on `host`: a loopback address, or a name under localhost (RFC
    6761, 6.3)."""
    return ip_address(host).is_loopback if is_address(host) else f".{host.lower()}".endswith(".localhost")


def address_of(text: str) -> str | None:
    """The IP address in `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]:80`; None if there is none.

    An IPv4-mapped address (::ffff:192.0.2.1), as dual-stack sockets show it, is returned as IPv4.
    """
    bare = text[1:].partition("]")[0] if text.startswith("[") else text
    bare = bare.partition(":")[0] if bare.count(":") == 1 else bare
    try:
        address = ip_address(bare)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)
