"""SSRF protection: which addresses a client's URL may lead to. Allowed are http(s) URLs on allowed ports whose host
resolves to public addresses only. Addresses of cloud services (metadata, credentials) are always refused.

The caller connects to exactly the addresses returned here, so that a second DNS answer cannot lead elsewhere (DNS
rebinding), and checks again before every attempt and redirect. The refusal is the same for a host that does not resolve
and for one that is not allowed, so that it does not reveal the operator's network. The log has the reason.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import SplitResult, urlsplit

from core.service.domain.errors import MediaUrlRefused, UrlRefused, WebhookUrlRefused, shortened
from core.service.domain.url_ports import DEFAULT_PORTS, DEFAULT_URL_PORTS, UrlPorts
from core.service.settings import Settings

logger = logging.getLogger(__name__)

Resolve = Callable[[str, int], Sequence[str]]
"""(host, port) -> every address of the host as text. Raises OSError or UnicodeError if there is none."""

_IPV4_BITS = 0xFFFFFFFF
_NAT64 = ip_network("64:ff9b::/96")
"""RFC 6052: the last 32 bits are an IPv4 address."""
_LOCAL_NAT64 = ip_network("64:ff9b:1::/48")
"""RFC 8215: local translation; the position of the IPv4 address depends on the prefix length."""
_COMPATIBLE = ip_network("::/96")
"""RFC 4291, 2.5.5.1: IPv4-compatible addresses, deprecated but still interpreted by some systems."""
_GLOBAL_UNICAST = ip_network("2000::/3")
"""RFC 4291, 2.4: no other IPv6 address is routed on the internet."""

_CLOUD_SERVICES = tuple(
    map(
        ip_network,
        (
            "169.254.0.0/16",  # link-local: metadata (.169.254), credentials of ECS and EKS (.170.2, .170.23)
            "fe80::/10",  # the same in IPv6
            "168.63.129.16/32",  # Azure's agent: certificates and secrets of the machine
            "100.100.100.200/32",  # Alibaba Cloud
            "192.0.0.192/32",  # Oracle Cloud Classic
            "fd00:ec2::/32",  # AWS
            "fd20:ce::/32",  # Google Cloud
            "fd00:42::42/128",  # Scaleway
        ),
    )
)
"""Services that a cloud offers to its machines: refused even if private addresses are allowed."""

_NOT_PUBLIC = tuple(
    map(
        ip_network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",  # shared address space (RFC 6598)
            "127.0.0.0/8",
            "172.16.0.0/12",
            "192.0.0.0/24",  # protocol assignments (RFC 6890)
            "192.0.2.0/24",  # documentation (RFC 5737), also 198.51.100.0/24 and 203.0.113.0/24
            "192.31.196.0/24",  # AS112 (RFC 7535), also 192.175.48.0/24
            "192.52.193.0/24",  # AMT (RFC 7450)
            "192.88.99.0/24",  # 6to4 relays (RFC 7526)
            "192.168.0.0/16",
            "192.175.48.0/24",
            "198.18.0.0/15",  # benchmarks (RFC 2544)
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/3",  # multicast, reserved, broadcast
            "161.26.0.0/16",  # IBM Cloud's services, seen from inside only; also 166.8.0.0/14
            "166.8.0.0/14",
            "199.36.153.0/28",  # Google's APIs, seen from inside only
            "2001::/23",  # protocol assignments (RFC 2928): Teredo, benchmarks, ORCHID
            "2001:db8::/32",  # documentation (RFC 3849)
            "2620:4f:8000::/48",  # AS112
            "3fff::/20",  # documentation (RFC 9637)
        ),
    )
)
"""IANA's special-purpose registries, and networks inside clouds."""


@dataclass(frozen=True)
class UrlUse:
    """Purpose of a URL: the request field and the setting that a refusal names."""

    refusal: type[UrlRefused]
    field: str
    setting: str
    allows_private: Callable[[Settings], bool]


WEBHOOK = UrlUse(
    WebhookUrlRefused,
    "webhook_url",
    "LONGTAKE_WEBHOOK_ALLOW_PRIVATE_ADDRESSES",
    lambda settings: settings.webhook_allow_private_addresses,
)
IMAGE, VIDEO = (
    UrlUse(
        MediaUrlRefused,
        field,
        "LONGTAKE_MEDIA_ALLOW_PRIVATE_ADDRESSES",
        lambda settings: settings.media_allow_private_addresses,
    )
    for field in ("image", "video")
)


def resolve_host(host: str, port: int) -> list[str]:
    """All addresses of the system's resolver, in its order, without duplicates."""
    answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(answer[4][0]) for answer in answers))


def allowed_addresses(url: str, use: UrlUse, settings: Settings, resolve: Resolve) -> list[str]:
    """`check_url` with the settings of this deployment."""
    ports = UrlPorts.read(settings.allowed_url_ports)
    return check_url(url, use.allows_private(settings), resolve, use, ports)


def check_url(
    url: str,
    allow_private: bool = False,
    resolve: Resolve = resolve_host,
    use: UrlUse = WEBHOOK,
    ports: UrlPorts = UrlPorts.read(DEFAULT_URL_PORTS),  # noqa: B008 - frozen
) -> list[str]:
    """The addresses that a request to `url` may connect to; never empty.

    Raises the refusal of `use` for anything but http(s)://host[:port]..., for userinfo, for a host that does not
    resolve or has an address of a cloud service, and, unless `allow_private`, for a host with an address that is not
    public and for a port that is not in `ports`. Other errors of `resolve` than OSError and UnicodeError propagate.
    """
    try:
        host, port = _host_and_port(_split(url))
        if not allow_private:
            _check_port(port, ports)
        return _allowed_addresses(host, port, allow_private, resolve)
    except _Refused as refused:
        raise use.refusal(refused.message, field=use.field, fix=refused.fix.format(setting=use.setting)) from refused


def host_and_port(url: str) -> tuple[str, int] | None:
    """Host and port that `check_url` would look up; None for a URL that it refuses without a look-up."""
    try:
        return _host_and_port(_split(url))
    except _Refused:
        return None


class _Refused(Exception):
    """Why a URL is not allowed and how to fix it, before its purpose is known."""

    def __init__(self, message: str, fix: str) -> None:
        super().__init__(message)
        self.message, self.fix = message, fix


def _check_port(port: int, ports: UrlPorts) -> None:
    if port not in ports:
        raise _Refused(f"the URL's port {port} is not allowed", "use another; LONGTAKE_ALLOWED_URL_PORTS lists them")


def _allowed_addresses(host: str, port: int, allow_private: bool, resolve: Resolve) -> list[str]:
    try:
        addresses = list(resolve(host, port))
    except (OSError, UnicodeError):
        addresses = []
    allowed = is_not_cloud_service if allow_private else is_public
    if not addresses or not all(map(allowed, addresses)):
        logger.info("the host %r is refused: its addresses are %s", shortened(host), addresses[:8])
        raise _Refused(
            f"the host {shortened(host)!r} has no address, or one that is not allowed",
            "use a host name that resolves to public addresses only, or let the operator set {setting}=true",
        )
    return addresses


def is_public(address: str) -> bool:
    """Whether the address is public; IPv4 addresses embedded in IPv6 count as what they embed."""
    ip = _read(address)
    if ip is None or not is_not_cloud_service(address):
        return False
    if isinstance(ip, IPv6Address) and ip not in _GLOBAL_UNICAST:
        return False
    return ip.is_global and not any(ip in network for network in _NOT_PUBLIC if network.version == ip.version)


def is_not_cloud_service(address: str) -> bool:
    """Whether the text is an address, and not one of a cloud service."""
    ip = _read(address)
    if ip is None:
        return False
    candidates = (ip, *_embedded_ipv4(ip))
    return not any(
        one in network for one in candidates for network in _CLOUD_SERVICES if network.version == one.version
    )


def _read(address: str) -> IPv4Address | IPv6Address | None:
    """The IPv4 address inside a mapped (RFC 4291), 6to4 (RFC 3056) or NAT64 (RFC 6052) one, else `address` itself."""
    try:
        ip = ip_address(address)
    except ValueError:
        return None
    if isinstance(ip, IPv4Address):
        return ip
    if ip in _NAT64:
        return IPv4Address(int(ip) & _IPV4_BITS)
    return ip.ipv4_mapped or ip.sixtofour or ip


def _embedded_ipv4(ip: IPv4Address | IPv6Address) -> tuple[IPv4Address, ...]:
    """IPv4 addresses that a non-public IPv6 address may be translated to within an operator's network."""
    bits = int(ip)
    if ip in _COMPATIBLE:
        return (IPv4Address(bits & _IPV4_BITS),)
    if ip not in _LOCAL_NAT64:
        return ()
    # RFC 6052, 2.2: after a prefix of 48, 56 or 64 bits, skipping bits 64 to 71; for a prefix of 96, the last 32 bits.
    around = (bits >> 64 << 56) | (bits & (1 << 56) - 1)
    found = (around >> 120 - prefix - 32 for prefix in (48, 56, 64))
    return tuple(IPv4Address(number & _IPV4_BITS) for number in (*found, bits))


def _split(url: str) -> SplitResult:
    """`url` parsed; its scheme is http or https and it has no userinfo."""
    # urlsplit drops tabs and newlines silently, and other parsers treat a backslash as a slash: two parsers could see
    # different hosts. Only characters that all parsers treat alike are allowed.
    if not url.isascii() or any(character <= " " or character in '\\\x7f"<>' for character in url):
        raise _Refused("the URL has characters that a URL cannot have", "percent-encode the path, write IDNs as xn--")
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise _Refused("the URL cannot be read", "give a URL like https://example.com/path") from error
    if parts.scheme not in DEFAULT_PORTS:
        raise _Refused(
            f"the URL's scheme is {shortened(parts.scheme or 'missing')!r}", "start it with https:// or http://"
        )
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
