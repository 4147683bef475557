"""The stack's refusals and settings, without starting a server."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from pydantic import SecretStr

from cli.processes.embedded import EmbeddedRedis, EmbeddedS3
from cli.processes.machine import free_port
from cli.processes.stack import (
    StackOptions,
    exclusive,
    ports_after_the_cpu_worker,
    require_free_port,
    settings_environment,
    stack_settings,
    webhook_secret_of,
)
from core.service.domain.errors import SetupError
from core.service.settings import Settings, read_settings


def test_a_port_in_use_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SetupError, match=f"port {port} on 127.0.0.1 cannot be used"):
            require_free_port("127.0.0.1", port)


def test_a_second_stack_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    with exclusive(tmp_path), pytest.raises(SetupError, match="another Longtake"), exclusive(tmp_path):
        pytest.fail("the folder must not be shared")


def test_children_read_the_very_same_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(s3_secret_access_key=SecretStr("s"), max_frames=99, webhook_allow_private_addresses=True)
    for name, value in settings_environment(settings).items():
        monkeypatch.setenv(name, value)
    assert Settings() == settings


@pytest.mark.parametrize(("chosen", "media"), [(None, "proxy"), ("redirect", "redirect")])
def test_the_api_of_a_stack_sends_media_itself_by_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chosen: str | None, media: str
) -> None:
    if chosen is not None:
        monkeypatch.setenv("LONGTAKE_MEDIA", chosen)
    servers = EmbeddedRedis(tmp_path / "redis", free_port()), EmbeddedS3(tmp_path / "s3", free_port())
    assert stack_settings(StackOptions(tmp_path), tmp_path, *servers).media == media


@pytest.mark.parametrize(("port", "others"), [(0, None), (9108, "9109"), (65535, None)])
def test_workers_of_a_stack_serve_metrics_on_ports_of_their_own(port: int, others: str | None) -> None:
    ports = ports_after_the_cpu_worker(Settings(worker_metrics_port=port))
    assert ports.get("LONGTAKE_WORKER_METRICS_PORT") == others


def test_the_webhook_secret_is_kept_and_private(tmp_path: Path) -> None:
    first = webhook_secret_of(tmp_path)
    assert first.startswith("whsec_")
    assert webhook_secret_of(tmp_path) == first
    assert (tmp_path / "webhook_secret").stat().st_mode & 0o077 == 0


def test_a_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGTAKE_MAX_FRAMES", "many")
    with pytest.raises(SetupError, match="LONGTAKE_MAX_FRAMES"):
        read_settings()
