"""Decides which addresses a client's URL may lead to: http(s) URLs whose host resolves to public addresses only.

Knows nothing of HTTP itself. Whoever connects does so to exactly the addresses returned here, so that a second DNS
answer cannot lead it elsewhere (DNS rebinding), and asks again before every try and at every redirect.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import SplitResult, urlsplit

from core.service.errors import MediaUrlRefused, UrlRefused, WebhookUrlRefused

Resolve = Callable[[str, int], Sequence[str]]
"""(host, port) -> every address of the host as text. Raises OSError or UnicodeError where there is none."""

DEFAULT_PORTS = {"http": 80, "https": 443}
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052: the last 32 bits are an IPv4 address


@dataclass(frozen=True)
class UrlUse:
    """What a URL is given for, so that a refusal can name the field and the operator's setting."""

    refusal: type[UrlRefused]
    field: str
    setting: str


WEBHOOK = UrlUse(WebhookUrlRefused, "webhook_url", "LONGTAKE_WEBHOOK_ALLOW_PRIVATE_ADDRESSES")
IMAGE = UrlUse(MediaUrlRefused, "image", "LONGTAKE_MEDIA_ALLOW_PRIVATE_ADDRESSES")
VIDEO = UrlUse(MediaUrlRefused, "video", "LONGTAKE_MEDIA_ALLOW_PRIVATE_ADDRESSES")


def resolve_host(host: str, port: int) -> list[str]:
    """Every address the system's resolver gives, without repeats, in its order."""
    answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(answer[4][0]) for answer in answers))


def check_url(
    url: str, allow_private: bool = False, resolve: Resolve = resolve_host, use: UrlUse = WEBHOOK
) -> list[str]:
    """The addresses that a request to `url` may connect to, all of them checked; never empty.

    Raises the refusal of `use` for anything but http(s)://host[:port]..., for userinfo, for a host that does not
    resolve, and, unless `allow_private`, for a host with any address that is not public.
    """
    try:
        return _allowed_addresses(url, allow_private, resolve)
    except _Refused as refused:
        raise use.refusal(refused.message, field=use.field, fix=refused.fix.format(setting=use.setting)) from refused


class _Refused(Exception):
    """Why a URL is not allowed and what would mend it, before it is known what the URL is for."""

    def __init__(self, message: str, fix: str) -> None:
        super().__init__(message)
        self.message, self.fix = message, fix


def _allowed_addresses(url: str, allow_private: bool, resolve: Resolve) -> list[str]:
    host, port = _host_and_port(_split(url))
    try:
        addresses = list(resolve(host, port))
    except (OSError, UnicodeError):
        addresses = []
    if not addresses:
        raise _Refused(f"the host {host!r} has no address", "use a host name that resolves")
    if not allow_private and not all(is_public(address) for address in addresses):
        # The address itself is not told: answers must not map the operator's network.
        raise _Refused(
            f"the host {host!r} is, or resolves to, an address that is not public",
            "use a public address, or let the operator set {setting}=true",
        )
    return addresses


def is_public(address: str) -> bool:
    """Whether the whole internet can own this address; IPv4 addresses wrapped in IPv6 are judged by what they wrap."""
    try:
        ip = _unwrapped(ip_address(address))
    except ValueError:
        return False
    if isinstance(ip, IPv6Address) and ip.is_site_local:
        return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


def _unwrapped(ip: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address inside a mapped (RFC 4291), 6to4 (RFC 3056) or NAT64 (RFC 6052) address, else `ip` itself."""
    if isinstance(ip, IPv4Address):
        return ip
    if ip in _NAT64:
        return IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour or ip


def _split(url: str) -> SplitResult:
    """`url` in its parts; its scheme is http or https and it has no userinfo."""
    # urlsplit drops tabs and newlines silently, and other parsers read a backslash as a slash: two readers could see
    # two hosts. Only characters that every reader treats alike get through.
    if not url.isascii() or any(character <= " " or character in '\\\x7f"<>' for character in url):
        raise _Refused("the URL has characters that a URL cannot have", "percent-encode the path, write IDNs as xn--")
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise _Refused("the URL cannot be read", "give a URL like https://example.com/path") from error
    if parts.scheme not in DEFAULT_PORTS:
        raise _Refused(f"the URL's scheme is {parts.scheme or 'missing'!r}", "start it with https:// or http://")
    if "@" in parts.netloc:
        raise _Refused("the URL holds a user name or password", "leave them out")
    return parts


def _host_and_port(parts: SplitResult) -> tuple[str, int]:
    try:
        port = parts.port
    except ValueError as error:
        raise _Refused("the URL's port is not a number from 1 to 65535", "leave it out or correct it") from error
    if port == 0:
        raise _Refused("the URL's port is not a number from 1 to 65535", "leave it out or correct it")
    if not parts.hostname:
        raise _Refused("the URL has no host", "give a URL like https://example.com/path")
    return parts.hostname, port or DEFAULT_PORTS[parts.scheme]
