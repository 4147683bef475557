"""Pauses in a real Redis: the shared contract, and the commands."""

from __future__ import annotations

import pytest
import redis

from cli.main import main
from core.service.domain.ports import EVERYTHING, Pauses, WorkerStatus
from core.service.redis.pauses import RedisPauses
from core.service.redis.worker_registry import RedisWorkerRegistry
from core.service.testing.clock import FAKE_START
from tests.helpers.pauses_contract import PausesContract


@pytest.fixture
def pauses(client: redis.Redis) -> Pauses:
    return RedisPauses(client)


class TestRedisPauses(PausesContract):
    """The whole contract, on a real Redis."""


@pytest.fixture
def _settings(client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = client.connection_pool.connection_kwargs
    url = f"redis://127.0.0.1:{connection['port']}"
    monkeypatch.setenv("LONGTAKE_REDIS_URL", f"{url}/0")
    monkeypatch.setenv("LONGTAKE_BROKER_URL", f"{url}/1")


@pytest.mark.usefixtures("_settings")
def test_the_commands_pause_list_and_resume(pauses: Pauses, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pause", "--list"]) == 0
    assert capsys.readouterr().out == "nothing is paused\n"
    assert main(["pause"]) == 0
    assert main(["pause", "--model", "sprites"]) == 0
    assert EVERYTHING in pauses.all()
    capsys.readouterr()
    assert main(["pause", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.rpartition(": ")[2] for line in lines] == ["everything", "model sprites"]
    assert main(["resume"]) == 0
    assert capsys.readouterr().out == "resumed: everything\nstill paused: model sprites\n"
    assert main(["resume"]) == 1
    assert "everything was not paused" in capsys.readouterr().out


@pytest.mark.parametrize("options", [["--model", ""], ["--worker", "a b"], ["--model", "a", "--worker", "b"]])
def test_bad_names_are_refused(options: list[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        main(["pause", *options])
    assert refused.value.code == 2


@pytest.mark.usefixtures("_settings")
@pytest.mark.parametrize(("option", "name"), [("--model", "sprits"), ("--worker", "sprites-0@gpu-1")])
def test_what_is_not_known_is_paused_by_force_only(
    pauses: Pauses, capsys: pytest.CaptureFixture[str], option: str, name: str
) -> None:
    assert main(["pause", option, name]) == 1
    assert f"there is no {option[2:]} {name}" in capsys.readouterr().err
    assert pauses.all() == {}
    assert main(["pause", option, name, "--force"]) == 0
    assert [str(target) for target in pauses.all()] == [f"{option[2:]} {name}"]


@pytest.mark.usefixtures("_settings")
def test_a_worker_that_runs_may_be_paused(client: redis.Redis, pauses: Pauses) -> None:
    status = WorkerStatus(
        name="far-0-7@gpu-1", kind="both", model="far", state="ready", device="cpu", pid=7, started_at=FAKE_START
    )
    RedisWorkerRegistry(client).report(status, 60)
    for options in (["--worker", "far-0@gpu-1"], ["--worker", "far-0-7@gpu-1"], ["--model", "far"]):
        assert main(["pause", *options]) == 0
    assert len(pauses.all()) == 3
