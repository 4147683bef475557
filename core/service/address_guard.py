"""Decides which addresses a webhook may be sent to: http(s) URLs whose host resolves to public addresses only.

Knows nothing of HTTP sending. The sender connects to exactly the addresses returned here, so that a second DNS answer
cannot lead it elsewhere (DNS rebinding), and asks again before every try.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import SplitResult, urlsplit

from core.service.errors import WebhookUrlRefused

Resolve = Callable[[str, int], Sequence[str]]
"""(host, port) -> every address of the host as text. Raises OSError or UnicodeError where there is none."""

DEFAULT_PORTS = {"http": 80, "https": 443}
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052: the last 32 bits are an IPv4 address
_PUBLIC_FIX = "use a public address, or let the operator set LONGTAKE_WEBHOOK_ALLOW_PRIVATE_ADDRESSES=true"


def resolve_host(host: str, port: int) -> list[str]:
    """Every address the system's resolver gives, without repeats, in its order."""
    answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(answer[4][0]) for answer in answers))


def check_url(url: str, allow_private: bool = False, resolve: Resolve = resolve_host) -> list[str]:
    """The addresses that a webhook to `url` may connect to, all of them checked; never empty.

    Raises WebhookUrlRefused for anything but http(s)://host[:port]..., for userinfo, for a host that does not resolve,
    and, unless `allow_private`, for a host with any address that is not public.
    """
    parts = _split(url)
    host, port = _host_and_port(parts)
    try:
        addresses = list(resolve(host, port))
    except (OSError, UnicodeError):
        addresses = []
    if not addresses:
        raise _refused(f"the host {host!r} has no address", "use a host name that resolves")
    if not allow_private and not all(is_public(address) for address in addresses):
        # The address itself is not told: answers must not map the operator's network.
        raise _refused(f"the host {host!r} is, or resolves to, an address that is not public", _PUBLIC_FIX)
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
        raise _refused("the URL has characters that a URL cannot have", "percent-encode the path, write IDNs as xn--")
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise _refused("the URL cannot be read", "give a URL like https://example.com/hook") from error
    if parts.scheme not in DEFAULT_PORTS:
        raise _refused(f"the URL's scheme is {parts.scheme or 'missing'!r}", "start it with https:// or http://")
    if "@" in parts.netloc:
        raise _refused("the URL holds a user name or password", "leave them out; verify the signature instead")
    return parts


def _host_and_port(parts: SplitResult) -> tuple[str, int]:
    try:
        port = parts.port
    except ValueError as error:
        raise _refused("the URL's port is not a number from 1 to 65535", "leave it out or correct it") from error
    if port == 0:
        raise _refused("the URL's port is not a number from 1 to 65535", "leave it out or correct it")
    if not parts.hostname:
        raise _refused("the URL has no host", "give a URL like https://example.com/hook")
    return parts.hostname, port or DEFAULT_PORTS[parts.scheme]


def _refused(message: str, fix: str) -> WebhookUrlRefused:
    return WebhookUrlRefused(message, field="webhook_url", fix=fix)
