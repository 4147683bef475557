"""A Redis with TLS and one without, certificates, and URLs to them."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cli.processes.machine import LOOPBACK
from tests.helpers.certificates import Authority, Certificate
from tests.helpers.redis_programs import program_of
from tests.helpers.redis_server import RedisServer

LOGIN = ":sesame-of-redis@"


@dataclass(frozen=True)
class World:
    """A Redis with TLS, one without, and certificates."""

    authority: Authority
    server: RedisServer
    plain: RedisServer
    client: Certificate

    def url(
        self, *options: str, scheme: str = "rediss", host: str = LOOPBACK, server: RedisServer | None = None
    ) -> str:
        query = "&".join(options)
        return f"{scheme}://{LOGIN}{host}:{(server or self.server).port}/0{'?' if query else ''}{query}"

    @property
    def ca(self) -> str:
        return f"ssl_ca_certs={self.authority.file}"

    @property
    def certificate(self) -> str:
        return f"ssl_certfile={self.client.file}&ssl_keyfile={self.client.key}"


@contextmanager
def tls_world(folder: Path) -> Generator[World]:
    """Skips the test where there is no Redis with TLS."""
    program = program_of()
    authority = Authority(folder / "ca")
    options = ("--save", "", "--requirepass", "sesame-of-redis")
    tls = authority.certificate("server")
    with (
        RedisServer(folder / "secure", *options, program=program, tls=tls) as secure,
        RedisServer(folder / "plain", *options, program=program) as plain,
    ):
        yield World(authority, secure, plain, authority.certificate("client"))
