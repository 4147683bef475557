"""Pipelines, refiners and image models that are named by their ids on a Hub."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.hub_server import Hub, running_hub
from tests.helpers.pipelines import write_sdxl, write_text_to_video
from tests.helpers.presets import change_preset
from tests.helpers.random_preset import write_random_preset


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running_hub() as hub:
        yield hub


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
