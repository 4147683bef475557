"""What the environment says that has no effect, or is hardly meant, is told at start."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from core.service.setting_checks import setting_warnings, warn_of_settings
from core.service.settings import Settings
from worker import supervisor


def warnings(settings: Settings | None = None, environment: Mapping[str, str] | None = None) -> list[str]:
    return list(setting_warnings(settings or Settings(), environment or {}))


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("LONGTAKE_TARGET_QUEUE_SECOND", "LONGTAKE_TARGET_QUEUE_SECONDS"),
        ("LONGTAKE_AHEADSECONDS", "LONGTAKE_AHEAD_SECONDS"),
        ("longtake_redis_urI", "LONGTAKE_REDIS_URL"),
        ("LONGTAKE_KEYS", "LONGTAKE_KEY"),
    ],
)
def test_a_misspelt_name_is_told_with_the_nearest_setting(name: str, nearest: str) -> None:
    (told,) = warnings(environment={name: "a-secret"})
    assert told == f"the environment variable {name} is no setting and has no effect: do you mean {nearest}?"


def test_a_name_like_no_other_is_told_alone() -> None:
    (told,) = warnings(environment={"LONGTAKE_XQZ": "1"})
    assert told.endswith("LONGTAKE_XQZ is no setting and has no effect")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LONGTAKE_REDIS_URL", "redis://h/0"),
        ("longtake_ahead_seconds", "3"),
        ("LONGTAKE_URL", "http://h"),
        ("LONGTAKE_KEY", "lt_x"),
        ("LONGTAKE_WORKER_METRICS_PORT", "9108"),
        ("LONGTAKE_API_SERVICE_HOST", "10.0.0.1"),
        ("LONGTAKE_API_SERVICE_PORT_HTTP", "8000"),
        ("LONGTAKE_API_PORT", "tcp://10.0.0.1:8000"),
        ("LONGTAKE_API_PORT_8000_TCP_ADDR", "10.0.0.1"),
        ("LONGTAKER", "1"),
        ("PATH", "/bin"),
    ],
)
def test_settings_and_what_kubernetes_adds_are_not_told(name: str, value: str) -> None:
    assert warnings(environment={name: value}) == []


@pytest.mark.parametrize(
    ("records", "broker"),
    [
        ("redis://h/0", "redis://h:6379/0"),
        ("redis://h", "redis://user:password@h/0"),
        ("redis://h/0?db=1", "redis://h/1"),
        ("redis://localhost/0", "redis://127.0.0.1/0"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock?db=0"),
        ("sentinel://a,b/1?master=m", "sentinel://b,a:26379/1?master=m"),
    ],
)
def test_one_database_for_records_and_messages_is_told_without_its_url(records: str, broker: str) -> None:
    (told,) = warnings(Settings(redis_url=records, broker_url=broker))
    assert told.startswith("LONGTAKE_REDIS_URL and LONGTAKE_BROKER_URL name the same database")
    assert "password" not in told


@pytest.mark.parametrize(
    ("records", "broker"),
    [
        ("redis://h/0", "redis://h/1"),
        ("redis://h/0", "redis://i/0"),
        ("redis://h/0", "redis://h:6380/0"),
        ("sentinel://a/0?master=m", "sentinel://a/0?master=n"),
        ("redis://h/0", "nothing that can be read"),
    ],
)
def test_two_databases_are_not_told(records: str, broker: str) -> None:
    assert warnings(Settings(redis_url=records, broker_url=broker)) == []


def test_each_is_a_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    warn_of_settings(Settings(redis_url="redis://h/0", broker_url="redis://h/0"), {"LONGTAKE_X": "1"})
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2


def test_workers_tell_it_at_start(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("LONGTAKE_AHEAD_SECOND", "3")

    def ends_at_once(_supervisor: supervisor.Supervisor) -> int:
        return 0

    monkeypatch.setattr(supervisor, "_run", ends_at_once)
    assert supervisor.run(kind="cpu", model=None, gpus="none") == 0
    assert "do you mean LONGTAKE_AHEAD_SECONDS?" in caplog.text
