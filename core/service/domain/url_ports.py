"""Which ports the URLs of clients may name: `80,443,8000-8999`, or `all`. Pure text; knows no addresses."""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_PORTS = {"http": 80, "https": 443}
"""Of each scheme, where a URL names no port."""
DEFAULT_URL_PORTS = "80,443,8000-8999"
ALL_PORTS = "all"
MAX_PORT = 65535


@dataclass(frozen=True)
class UrlPorts:
    """Ranges of ports, both ends included."""

    ranges: tuple[tuple[int, int], ...]

    @staticmethod
    def read(text: str) -> UrlPorts:
        """Raises ValueError with a sentence for the operator."""
        if text.strip() == ALL_PORTS:
            return UrlPorts(((1, MAX_PORT),))
        return UrlPorts(tuple(_range(part.strip()) for part in text.split(",")))

    def __contains__(self, port: int) -> bool:
        return any(first <= port <= last for first, last in self.ranges)


def port_list(text: str) -> str:
    """`text` as it is, where UrlPorts can read it: a validator of settings."""
    UrlPorts.read(text)
    return text


def _range(part: str) -> tuple[int, int]:
    first, dash, last = part.partition("-")
    try:
        ends = int(first), int(last if dash else first)
    except ValueError:
        ends = (0, 0)
    if not 1 <= ends[0] <= ends[1] <= MAX_PORT:
        raise ValueError(f"{part[:20]!r} is no port or range of ports; write {DEFAULT_URL_PORTS}, or {ALL_PORTS}")
    return ends
