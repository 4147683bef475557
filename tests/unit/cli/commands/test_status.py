"""`longtake status`: what it asks, and what scripts get; `longtake pause` refuses names that it does not know."""

from __future__ import annotations

import json
import re

import pytest

from api.http.examples import STATUS_EXAMPLE
from cli.commands.pause import check_target
from cli.main import main, parse_args
from core.service.admission.catalog import Catalog
from core.service.domain.errors import SetupError
from core.service.domain.ports import EVERYTHING, PauseTarget, WorkerStatus
from core.service.settings import Settings
from core.service.testing.clock import FAKE_START
from tests.unit.cli.commands.conftest import Api


@pytest.fixture
def _status(api: Api) -> None:
    api.answers["GET", "/status"] = STATUS_EXAMPLE


@pytest.mark.usefixtures("_status")
def test_json_is_the_answer(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--json", "--key", "lt_operator"]) == 0
    assert json.loads(capsys.readouterr().out) == STATUS_EXAMPLE
    assert (api.asked, api.keys) == ([("GET", "/status", None)], ["Bearer lt_operator"])


@pytest.mark.usefixtures("_status")
@pytest.mark.parametrize("options", [[], ["--once"]])
def test_a_pipe_gets_one_picture(api: Api, capsys: pytest.CaptureFixture[str], options: list[str]) -> None:
    assert main(["status", *options]) == 0
    printed = capsys.readouterr().out
    assert [word for word in ("Workers", "Queues", "Rates", "job_k3mq5w7zr2ay4n6c5bqd") if word not in printed] == []
    assert len(api.asked) == 1


def test_an_api_that_is_away_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--once", "--url", "http://127.0.0.1:1"]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("longtake: ")
    assert "Traceback" not in printed.err


@pytest.mark.parametrize("wrong", ["0", "0.4", "3601", "nan", "inf", "often", ""])
def test_a_wrong_interval_is_refused(capsys: pytest.CaptureFixture[str], wrong: str) -> None:
    with pytest.raises(SystemExit) as refused:
        parse_args(["status", f"--every={wrong}"])
    assert refused.value.code == 2
    assert "is no number of seconds from 0.5 to 3600" in capsys.readouterr().err


def worker(name: str, model: str | None) -> WorkerStatus:
    kind = "cpu" if model is None else "both"
    return WorkerStatus(name=name, kind=kind, model=model, state="ready", device="cpu", pid=1, started_at=FAKE_START)


WORKERS = [worker("sprites-0-4711@gpu-1", "sprites"), worker("far-0-7@gpu-2", "far"), worker("cpu-0-9@gpu-1", None)]


@pytest.mark.parametrize(
    "target",
    [
        EVERYTHING,
        PauseTarget(model="sprites"),
        PauseTarget(model="far"),
        PauseTarget(worker="sprites-0-4711@gpu-1"),
        PauseTarget(worker="sprites-0@gpu-1"),
        PauseTarget(worker="cpu-0@gpu-1"),
    ],
    ids=str,
)
def test_what_is_known_may_be_paused(target: PauseTarget) -> None:
    check_target(target, WORKERS, ["sprites"])


@pytest.mark.parametrize(
    ("target", "named"),
    [
        (PauseTarget(model="sprite"), "there is no model sprite: there are far, modelscope, sprites"),
        (
            PauseTarget(worker="sprites-0-4712@gpu-1"),
            "there is no worker sprites-0-4712@gpu-1: there are cpu-0",
        ),
        (PauseTarget(worker="sprites"), "there is no worker sprites: there are"),
    ],
    ids=str,
)
def test_what_is_not_known_is_refused_with_the_names_that_there_are(target: PauseTarget, named: str) -> None:
    with pytest.raises(SetupError) as refused:
        check_target(target, WORKERS, ["sprites", "modelscope"])
    assert refused.value.message.startswith(named)
    assert "--force" in refused.value.with_fix


def test_of_many_workers_only_the_first_are_named() -> None:
    many = [worker(f"sprites-{number:03}-1@gpu-1", "sprites") for number in range(100)]
    with pytest.raises(SetupError, match="and 180 more"):
        check_target(PauseTarget(worker="x"), many, [])
    with pytest.raises(SetupError, match="there is none"):
        check_target(PauseTarget(worker="x"), [], [])


@pytest.mark.parametrize("command", ["pause", "resume"])
def test_the_examples_name_a_model_that_may_be_paused(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_args([command, "--help"])
    named = re.findall(r"--model (?!NAME)(\S+?)`?\s", capsys.readouterr().out)
    assert named
    for model in named:
        check_target(PauseTarget(model=model), [], Catalog(Settings()).names())


@pytest.mark.parametrize("options", [["--model", "sprites"], ["--worker", "sprites-0@gpu-1"]])
def test_a_list_is_of_all_pauses(capsys: pytest.CaptureFixture[str], options: list[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        parse_args(["pause", "--list", *options])
    assert refused.value.code == 2
    assert "not allowed with argument" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--model", "--worker"])
def test_a_name_is_at_most_as_long_as_a_host_name(capsys: pytest.CaptureFixture[str], option: str) -> None:
    assert parse_args(["pause", "--force", option, "n" * 253])
    with pytest.raises(SystemExit) as refused:
        parse_args(["pause", "--force", option, "n" * 5000])
    assert refused.value.code == 2
    told = capsys.readouterr().err
    assert "a name has 253 characters at most, and this one 5000" in told
    assert "nnnn" not in told
