"""Pauses in a real Redis: the shared contract, and the commands."""

from __future__ import annotations

import pytest
import redis

from cli.main import main
from core.service.domain.ports import EVERYTHING, Pauses
from core.service.redis.pauses import RedisPauses
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
