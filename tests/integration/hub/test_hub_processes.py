"""Processes that pull a preset from a Hub on loopback: the command, a worker, and `longtake up`."""

from pathlib import Path

import pytest

from core.service.admission.catalog import PresetFolder
from tests.helpers.command_line import Running
from tests.helpers.hub_server import Hub
from tests.helpers.pulling import CHECKPOINT, REFINER
from tests.helpers.service import running_service


def test_the_command_pulls_with_progress_and_its_refiner_and_says_where(
    hub: Hub, preset: PresetFolder, tmp_path: Path, repositories: Path
) -> None:
    hub.publish(REFINER, repositories / REFINER)
    variables = {"HF_ENDPOINT": hub.url, "LONGTAKE_WEIGHTS_DIR": str(preset.weights.parent)}
    command = Running(["pull", "modelscope", "--refiner"], preset.path.parent, tmp_path, variables)

    assert command.wait() == 0, command.output

    assert "progress  streaming_t2v.ckpt:" in command.output
    assert f"modelscope is installed in {preset.weights}, with its refiner" in command.output
    assert preset.installed
    assert preset.refines


def test_the_command_without_network_and_files_ends_with_one_sentence(preset: PresetFolder, tmp_path: Path) -> None:
    variables = {"HF_HUB_OFFLINE": "1", "LONGTAKE_WEIGHTS_DIR": str(preset.weights.parent)}
    command = Running(["pull", "modelscope"], preset.path.parent, tmp_path, variables)

    assert command.wait() == 1

    assert "modelscope still needs" in command.output
    assert str(preset.weights.parent / "downloads" / CHECKPOINT / "streaming_t2v.ckpt") in command.output
    assert "Traceback" not in command.output


def test_a_worker_installs_its_model_at_first_use(
    hub: Hub, preset: PresetFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub.url)  # for the processes of the service
    chosen = {"weights_dir": preset.weights.parent, "default_model": "modelscope"}
    with running_service(tmp_path, preset.path.parent, **chosen) as service:
        refused = service.http.post("/jobs", json={"prompt": "red cat"})
        service.start_workers("modelscope")
        job = service.submit(model="modelscope", prompt="red cat", num_frames=24)
        done = service.wait_for_success(job.id)

    assert (refused.status_code, refused.json()["code"]) == (503, "model_not_installed")
    assert preset.installed
    assert len(done.chunks) == 2


def test_up_downloads_before_it_starts(hub: Hub, preset: PresetFolder, tmp_path: Path) -> None:
    variables = {"HF_ENDPOINT": hub.url, "LONGTAKE_WEIGHTS_DIR": str(preset.weights.parent)}
    arguments = ["up", "--model", "modelscope", "--port", "0", "--gpus", "none", "--data", str(tmp_path / "data")]
    command = Running(arguments, preset.path.parent, tmp_path, variables)
    try:
        command.wait_for_line("ready:", seconds=120)
    finally:
        command.interrupt()
        command.wait()

    said = command.output
    assert said.index("modelscope is not installed: downloading") < said.index("starting Redis") < said.index("ready:")
    assert command.left_behind() == []
