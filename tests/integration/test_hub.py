"""Pulling a preset from a Hub on loopback that serves small random models in the real repositories' formats."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open

from core.model.checksums import verify_sums
from core.model.convert.summary import Report
from core.model.engines.streaming_t2v.loading import load_engine
from core.model.hub.pinned_files import lock_file
from core.model.hub.pull import pull
from core.model.hub.repository import HuggingFaceHub
from core.model.presets.fingerprint import weights_digest
from core.model.refinement.loading import load_refiner
from core.service.admission.catalog import Catalog, PresetFolder
from core.service.domain.engine import NO_INPUT_MEDIA, FramesTHWC
from core.service.domain.errors import CheckpointMismatch, DownloadDamaged, HubFileMissing, HubUnreachable, SetupError
from core.service.domain.refiner import RefineState
from core.service.domain.schema import RefineSpec
from core.service.engines.preset import HubFiles
from core.service.settings import Settings
from tests.helpers.command_line import Running
from tests.helpers.hub_repositories import (
    write_base_repository,
    write_checkpoint_repository,
    write_downloaded_preset,
    write_refiner_repository,
)
from tests.helpers.hub_server import Hub, running_hub
from tests.helpers.jobs import job_spec
from tests.helpers.pipelines import write_sdxl, write_text_to_video
from tests.helpers.presets import change_preset
from tests.helpers.random_preset import write_random_preset
from tests.helpers.service import running_service

CHECKPOINT, BASE = "PAIR/StreamingT2V", "ali-vilab/text-to-video-ms-1.7b"
REFINER = "ali-vilab/MS-Vid2Vid-XL"
CKPT = f"/{CHECKPOINT}/resolve/%s/streaming_t2v.ckpt"


@pytest.fixture(scope="module")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repositories")
    write_checkpoint_repository(folder / CHECKPOINT)
    write_base_repository(folder / BASE)
    write_refiner_repository(folder / REFINER)
    return folder


@pytest.fixture
def hub(repositories: Path) -> Generator[Hub]:
    """A Hub with both repositories that the preset needs."""
    with running_hub() as hub:
        hub.publish(CHECKPOINT, repositories / CHECKPOINT)
        hub.publish(BASE, repositories / BASE)
        yield hub


@pytest.fixture
def preset(tmp_path: Path) -> PresetFolder:
    write_downloaded_preset(tmp_path / "presets")
    settings = Settings(presets_dir=tmp_path / "presets", weights_dir=tmp_path / "weights")
    return Catalog(settings).get("modelscope")


def no_report(phase: str, done_bytes: int, total_bytes: int) -> None:
    """Nobody watches."""


def pull_from(hub: Hub, preset: PresetFolder, report: Report = no_report, **options: Any) -> Path:
    return pull(preset, report=report, hub=HuggingFaceHub(hub.url), **options)


def stored_dtype(folder: Path) -> str:
    with safe_open(folder / "model.safetensors", framework="pt") as content:
        return str(content.get_slice("conv_in.weight").get_dtype())


def pins(preset: PresetFolder) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(lock_file(preset).read_text())
    return content


def test_a_pulled_preset_makes_a_chunk(hub: Hub, preset: PresetFolder) -> None:
    assert not preset.installed

    weights = pull_from(hub, preset)

    assert preset.installed
    assert preset.tokenizer.count("red cat") == 2
    assert verify_sums(weights) > 12
    engine = load_engine(preset.path, weights=weights, device="cpu", torch_threads=1)
    spec = job_spec(prompt="red cat", model="modelscope", num_frames=24, num_inference_steps=2)
    first = engine.next_chunk(spec, engine.start(spec, NO_INPUT_MEDIA), lambda _step, _steps: None)
    second = engine.next_chunk(spec, first.state, lambda _step, _steps: None)
    assert first.frames.shape == (16, 32, 32, 3)
    assert second.frames.shape == (8, 32, 32, 3)
    assert second.frames.std() > 1


def test_only_the_files_that_are_needed_are_fetched_once(hub: Hub, preset: PresetFolder) -> None:
    phases: list[str] = []
    pull_from(hub, preset, lambda phase, _done, _total: phases.append(phase))
    served = [entry.path for entry in hub.served]
    asked = len(hub.asked)

    pull_from(hub, preset)

    assert sorted(served) == [
        "streaming_t2v.ckpt",
        "tokenizer/merges.txt",
        "tokenizer/vocab.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.fp16.safetensors",
    ]
    assert len(hub.asked) == asked
    assert {"streaming_t2v.ckpt", "verify streaming_t2v.ckpt", "cam", "first_chunk_unet"} <= set(phases)


def test_the_lock_file_lists_exactly_the_pulled_files(hub: Hub, preset: PresetFolder) -> None:
    pull_from(hub, preset, dtype="bfloat16")

    lock = pins(preset)
    checkpoint = lock["repositories"][CHECKPOINT]
    assert checkpoint["commit"] == hub.commit_of(CHECKPOINT, "main")
    assert len(checkpoint["files"]["streaming_t2v.ckpt"]["sha256"]) == 64
    assert len(lock["repositories"][BASE]["files"]["unet/config.json"]["sha256"]) == 64
    assert lock["dtype"] == "bfloat16"
    assert stored_dtype(preset.weights / "unet") == "BF16"
    assert stored_dtype(preset.weights / "first_chunk_unet") == "F16"  # as published


def test_a_later_pull_takes_the_pinned_commit_though_the_branch_moved(
    hub: Hub, preset: PresetFolder, tmp_path: Path
) -> None:
    pull_from(hub, preset)
    first, tensor = pins(preset)["repositories"][CHECKPOINT], preset.weights / "unet" / "model.safetensors"
    before = tensor.read_bytes()
    hub.publish(CHECKPOINT, write_checkpoint_repository(tmp_path / "newer", seed=5))
    for folder in (preset.weights, preset.weights.parent / "downloads"):
        folder.rename(tmp_path / f"old-{folder.name}")

    pull_from(hub, preset)

    assert pins(preset)["repositories"][CHECKPOINT] == first
    assert tensor.read_bytes() == before


def test_another_revision_is_pulled_where_it_is_asked_for(hub: Hub, preset: PresetFolder, tmp_path: Path) -> None:
    old = hub.commit_of(CHECKPOINT, "main")
    hub.publish(CHECKPOINT, write_checkpoint_repository(tmp_path / "newer", seed=5))

    pull_from(hub, preset, revision=old)

    assert pins(preset)["repositories"][CHECKPOINT]["commit"] == old
    assert hub.num_bytes_served("streaming_t2v.ckpt") == len(hub.revisions[CHECKPOINT][old]["streaming_t2v.ckpt"])


def test_an_installed_preset_does_not_silently_stay_another(hub: Hub, preset: PresetFolder) -> None:
    pull_from(hub, preset)

    pull_from(hub, preset, dtype="float32", revision="main")
    with pytest.raises(SetupError, match="is installed with float32 weights"):
        pull_from(hub, preset, dtype="bfloat16")
    with pytest.raises(SetupError, match="is installed with revision main"):
        pull_from(hub, preset, revision="v2")


def test_a_broken_connection_is_continued_where_it_broke(hub: Hub, tmp_path: Path) -> None:
    content = bytes(range(256)) * 100_000  # 25.6 MB: huggingface_hub hands on blocks of 10 MiB
    (tmp_path / "large").mkdir()
    (tmp_path / "large" / "file.bin").write_bytes(content)
    commit = hub.publish("org/large", tmp_path / "large")
    hub.break_off_after = 15_000_000
    part, counted = tmp_path / "file.part", list[int]()

    HuggingFaceHub(hub.url).fetch("org/large", commit, "file.bin", part, counted.append)

    assert part.read_bytes() == content
    assert sum(counted) == len(content)
    assert [served.first_byte for served in hub.served] == [0, 10 * 2**20]
    assert hub.num_bytes_served("file.bin") == 15_000_000 + len(content) - 10 * 2**20


def test_an_interrupted_pull_is_continued_by_the_next(hub: Hub, preset: PresetFolder) -> None:
    class Stopped(BaseException):
        """What a person's Ctrl-C raises."""

    size = len(hub.revisions[CHECKPOINT]["main"]["streaming_t2v.ckpt"])
    half = preset.weights.parent / "downloads" / CHECKPOINT / "streaming_t2v.ckpt.part"

    def stop(phase: str, _done: int, _total: int) -> None:
        if phase == "streaming_t2v.ckpt":
            with half.open("r+b") as file:
                file.truncate(size // 2)  # as if the rest had not come yet
            raise Stopped

    with pytest.raises(Stopped):
        pull_from(hub, preset, stop)
    assert not preset.installed
    hub.served.clear()

    pull_from(hub, preset)

    assert preset.installed
    assert [(served.path, served.first_byte) for served in hub.served] == [("streaming_t2v.ckpt", size // 2)]


def test_a_damaged_download_is_noticed_and_fetched_anew(hub: Hub, preset: PresetFolder) -> None:
    size = len(hub.revisions[CHECKPOINT]["main"]["streaming_t2v.ckpt"])
    part = preset.weights.parent / "downloads" / CHECKPOINT / "streaming_t2v.ckpt.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(bytes(size // 2))  # half of a file, and wrong

    with pytest.raises(
        DownloadDamaged, match=r"streaming_t2v\.ckpt has another checksum .* it is now streaming_t2v\.ckpt\.damaged"
    ):
        pull_from(hub, preset)

    assert not preset.installed
    pull_from(hub, preset)
    assert preset.installed
    assert hub.num_bytes_served("streaming_t2v.ckpt") == size - size // 2 + size


def test_a_file_of_git_is_checked_too(hub: Hub, preset: PresetFolder) -> None:
    vocabulary = preset.weights.parent / "downloads" / BASE / "tokenizer" / "vocab.json"
    vocabulary.parent.mkdir(parents=True)
    content = hub.revisions[BASE]["main"]["tokenizer/vocab.json"]
    vocabulary.write_bytes(content.replace(b"cat", b"cut"))

    with pytest.raises(DownloadDamaged, match=r"vocab\.json has another checksum"):
        pull_from(hub, preset)


def test_files_in_place_need_no_hub(hub: Hub, preset: PresetFolder, repositories: Path) -> None:
    hub.out_of_order = True
    downloads = preset.weights.parent / "downloads"
    for repository in (CHECKPOINT, BASE):
        (downloads / repository).parent.mkdir(parents=True, exist_ok=True)
        (downloads / repository).symlink_to(repositories / repository)

    pull_from(hub, preset)

    assert preset.installed
    checkpoint = pins(preset)["repositories"][CHECKPOINT]
    assert "commit" not in checkpoint
    assert len(checkpoint["files"]["streaming_t2v.ckpt"]["sha256"]) == 64


def test_without_hub_and_files_it_says_which_are_missing_and_what_to_do(preset: PresetFolder) -> None:
    with pytest.raises(HubUnreachable) as caught:
        pull(preset, report=no_report, hub=HuggingFaceHub("http://127.0.0.1:9"))

    downloads = preset.weights.parent / "downloads"
    assert str(downloads / CHECKPOINT / "streaming_t2v.ckpt") in caught.value.message
    assert str(downloads / BASE / "tokenizer" / "merges.txt") in caught.value.message
    assert "longtake pull modelscope" in str(caught.value.fix)
    assert not preset.installed


def test_a_hub_that_is_out_of_order_is_not_taken_for_a_missing_file(hub: Hub, preset: PresetFolder) -> None:
    hub.out_of_order = True

    with pytest.raises(HubUnreachable, match="answered 503"):
        pull_from(hub, preset)


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (HubFiles(repository="no/where", revision="main", files=("a",)), "no repository no/where"),
        (HubFiles(repository=CHECKPOINT, revision="v9", files=("a",)), "has no revision v9"),
        (HubFiles(repository=CHECKPOINT, revision="main", files=("a.ckpt",)), r"has no a\.ckpt"),
    ],
)
def test_what_the_hub_does_not_have_is_named(hub: Hub, wanted: HubFiles, said: str) -> None:
    with pytest.raises(HubFileMissing, match=said):
        HuggingFaceHub(hub.url).describe(wanted)


def test_a_shipped_preset_is_not_pulled(hub: Hub) -> None:
    with pytest.raises(SetupError, match="nothing to pull"):
        pull_from(hub, Catalog(Settings()).get("sprites"))


def test_a_weights_folder_that_cannot_be_made_is_named(hub: Hub, preset: PresetFolder) -> None:
    preset.weights.parent.write_text("in the way")

    with pytest.raises(SetupError, match="weights cannot be used") as caught:
        pull_from(hub, preset)
    assert "LONGTAKE_WEIGHTS_DIR" in str(caught.value.fix)


def test_the_command_pulls_with_progress_and_says_where(hub: Hub, preset: PresetFolder, tmp_path: Path) -> None:
    variables = {"HF_ENDPOINT": hub.url, "LONGTAKE_WEIGHTS_DIR": str(preset.weights.parent)}
    command = Running(["pull", "modelscope"], preset.path.parent, tmp_path, variables)

    assert command.wait() == 0, command.output

    assert "progress  streaming_t2v.ckpt:" in command.output
    assert f"modelscope is installed in {preset.weights}" in command.output
    assert preset.installed


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


MAKE_A_CHUNK = """
from core.service.domain.engine import NO_INPUT_MEDIA
from core.service.settings import Settings
from tests.helpers.jobs import job_spec
from worker.engines import load_engine

engine = load_engine(Settings(), "toy")
spec = job_spec(prompt="a cat", model="toy", num_frames=16)
chunk = engine.next_chunk(spec, engine.start(spec, NO_INPUT_MEDIA), lambda step, steps: None)
print(engine.fingerprint, chunk.frames.shape)
"""


def test_an_operator_chooses_a_pipeline_by_its_hub_id(hub: Hub, tmp_path: Path) -> None:
    hub.publish("org/small-t2v", write_text_to_video(tmp_path / "pipeline"))
    write_random_preset(tmp_path / "presets" / "toy", num_inference_steps=2)
    variables = {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path / "hub"),
        "LONGTAKE_PRESETS_DIR": str(tmp_path / "presets"),
        "LONGTAKE_FIRST_CHUNK_SOURCE": "diffusers:org/small-t2v",
    }

    def make_a_chunk() -> str:
        script = [sys.executable, "-c", MAKE_A_CHUNK]
        return subprocess.run(
            script, env={**os.environ, **variables}, capture_output=True, text=True, check=True
        ).stdout

    fetched = make_a_chunk()
    hub.out_of_order = True
    variables["HF_HUB_OFFLINE"] = "1"

    assert "first chunk diffusers:org/small-t2v" in fetched
    assert "(16, 64, 64, 3)" in fetched
    assert make_a_chunk() == fetched


FETCH_REFINER = """
from core.service.settings import Settings
from worker.engines import load_refiner

print(load_refiner(Settings(), "toy").fingerprint)
"""


def test_a_preset_names_its_refiner_by_hub_id(hub: Hub, tmp_path: Path) -> None:
    commit = hub.publish("org/video-xl", write_text_to_video(tmp_path / "pipeline"))
    folder = write_random_preset(tmp_path / "presets" / "toy")
    refiner: dict[str, Any] = json.loads((folder / "preset.json").read_text())["refiner"]
    change_preset(folder, refiner={**refiner, "source": "diffusers:org/video-xl", "resampling": "plain"})
    shutil.rmtree(folder / "refiner")
    variables = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hub"), "LONGTAKE_PRESETS_DIR": str(folder.parent)}

    script = [sys.executable, "-c", FETCH_REFINER]
    fetched = subprocess.run(script, env={**os.environ, **variables}, capture_output=True, text=True, check=True).stdout

    assert f"refiner diffusers:org/video-xl {commit}; " in fetched
    assert {"unet/diffusion_pytorch_model.safetensors", "vae/config.json"} <= {entry.path for entry in hub.served}


FETCH_IMAGE_MODELS = """
import logging, torch
from core.model.networks.pretrained import repository_folder
from core.model.pipelines.loading import Placement
from core.model.pipelines.image_model import fetch_image_model, load_image_model

logging.basicConfig(format="%(message)s")
placement = Placement(torch.device("cpu"))
print(fetch_image_model("no/where", placement))
print(repository_folder("org/sdxl", "fp16").name)  # it has no such files
print(fetch_image_model("org/sdxl", placement))
print(type(load_image_model("org/sdxl", placement)).__name__)
"""


def test_an_image_model_is_fetched_before_it_is_loaded(hub: Hub, tmp_path: Path) -> None:
    commit = hub.publish("org/sdxl", write_sdxl(tmp_path / "sdxl"))
    variables = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hub")}

    script = [sys.executable, "-c", FETCH_IMAGE_MODELS]
    ended = subprocess.run(script, env=variables, capture_output=True, text=True, check=True)

    assert "no/where is not available, so requests need an image: " in ended.stderr
    assert ended.stdout.split() == ["not", "available", commit, commit, "StableDiffusionXLPipeline"]
    assert {"unet/diffusion_pytorch_model.safetensors", "vae/config.json"} <= {entry.path for entry in hub.served}


def test_of_two_pulls_at_once_one_works_and_the_other_waits(hub: Hub, preset: PresetFolder) -> None:
    waiting, phases = threading.Event(), list[str]()

    def report(phase: str, _done: int, _total: int) -> None:
        phases.append(phase)
        waiting.set()

    preset.weights.parent.mkdir()
    with (preset.weights.parent / ".modelscope.pull.lock").open("w") as other, ThreadPoolExecutor(1) as pool:
        fcntl.flock(other, fcntl.LOCK_EX)
        pulled = pool.submit(pull_from, hub, preset, report)
        assert waiting.wait(60)
        asked_while_waiting = list(hub.asked)
        fcntl.flock(other, fcntl.LOCK_UN)
        pulled.result(60)

    assert phases[0] == "another process pulls it"
    assert asked_while_waiting == []
    assert preset.installed


def test_a_refiner_is_added_to_an_installed_preset_and_refines(
    hub: Hub, preset: PresetFolder, repositories: Path
) -> None:
    hub.publish(REFINER, repositories / REFINER)
    weights = pull_from(hub, preset, dtype="bfloat16")
    before = weights_digest(weights)
    hub.served.clear()
    assert not preset.refines

    pull_from(hub, preset, refiner=True)

    assert preset.refines
    assert [entry.path for entry in hub.served] == sorted(path.name for path in (repositories / REFINER).iterdir())
    assert stored_dtype(weights / "refiner" / "unet") == "BF16"  # as the rest
    assert set(pins(preset)["repositories"]) == {CHECKPOINT, BASE, REFINER}
    assert verify_sums(weights) > 18
    assert weights_digest(weights) == before  # chunks do not depend on it
    assert refined_frames(preset).std() > 1


def refined_frames(preset: PresetFolder) -> FramesTHWC:
    """One window through the installed refiner, its prompt read with the suffix."""
    refiner = load_refiner(preset.path, weights=preset.weights, device="cpu", torch_threads=1)
    asked = RefineSpec(
        strength=0.6, num_inference_steps=2, guidance_scale=2.0, height=64, width=64, schedule="streaming"
    )
    spec = job_spec(prompt="red cat", model="modelscope", num_frames=16, refine=asked)
    frames = np.random.default_rng(0).integers(0, 256, (16, 32, 32, 3), np.uint8)
    return refiner.refine_window(spec, RefineState(), frames, lambda _step, _steps: None).frames


def test_a_preset_is_pulled_with_its_refiner_where_it_is_asked_for(
    hub: Hub, preset: PresetFolder, tmp_path: Path, repositories: Path
) -> None:
    hub.publish(REFINER, repositories / REFINER)
    variables = {"HF_ENDPOINT": hub.url, "LONGTAKE_WEIGHTS_DIR": str(preset.weights.parent)}
    command = Running(["pull", "modelscope", "--refiner"], preset.path.parent, tmp_path, variables)

    assert command.wait() == 0, command.output

    assert "with its refiner" in command.output
    assert preset.installed
    assert preset.refines


def test_a_refiner_that_cannot_be_converted_leaves_the_preset_as_it_was(
    hub: Hub, preset: PresetFolder, tmp_path: Path
) -> None:
    weights, mixed_up = pull_from(hub, preset), write_refiner_repository(tmp_path / "refiner")
    shutil.copy(mixed_up / "open_clip_pytorch_model.bin", mixed_up / "v2-1_512-ema-pruned.ckpt")
    hub.publish(REFINER, mixed_up)
    before = sorted(weights.rglob("*"))

    with pytest.raises(CheckpointMismatch):
        pull_from(hub, preset, refiner=True)

    assert sorted(weights.rglob("*")) == before
    assert preset.installed
    assert not preset.refines


def test_a_wrong_name_is_noticed_before_anything_is_downloaded(hub: Hub, preset: PresetFolder) -> None:
    file = preset.path / "preset.json"
    content: dict[str, Any] = json.loads(file.read_text())
    content["download"]["refiner"] = {"repository": "no/where", "revision": "main", "files": ["a", "b", "c"]}
    file.write_text(json.dumps(content))

    with pytest.raises(HubFileMissing, match="no repository no/where"):
        pull_from(hub, preset, refiner=True)

    assert hub.served == []
