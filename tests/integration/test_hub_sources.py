"""Pipelines, refiners and image models that are named by their ids on a Hub."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from tests.helpers.hub_server import running_hub
from tests.helpers.pipelines import write_sdxl, write_text_to_video
from tests.helpers.presets import change_preset
from tests.helpers.random_preset import write_random_preset

MAKE_A_CHUNK = """
from core.service.domain.engine import NO_INPUT_MEDIA
from core.service.settings import Settings
from tests.helpers.jobs import job_spec
from worker.engines import load_engine

engine = load_engine(Settings(), "toy")
spec = job_spec(prompt="a cat", model="toy", num_frames=16)
chunk = engine.next_chunk(spec, engine.start(spec, NO_INPUT_MEDIA), lambda step, steps: None)
print("chunk:", engine.fingerprint, chunk.frames.shape)
"""
FETCH_REFINER = """
from core.service.settings import Settings
from worker.engines import load_refiner

print("refiner:", load_refiner(Settings(), "refining").fingerprint)
"""
FETCH_IMAGE_MODELS = """
import logging, torch
from core.model.networks.pretrained import repository_folder
from core.model.pipelines.loading import Placement
from core.model.pipelines.image_model import fetch_image_model, load_image_model

logging.basicConfig(format="%(message)s")
placement = Placement(torch.device("cpu"))
print("no image model:", fetch_image_model("no/where", placement))
print("files of a variant:", repository_folder("org/sdxl", "fp16").name)  # it has no such files
print("image model:", fetch_image_model("org/sdxl", placement))
print("pipeline:", type(load_image_model("org/sdxl", placement)).__name__)
"""


@dataclass(frozen=True)
class Fetched:
    """What one process fetched by ids of the Hub, each repository when it was needed."""

    commits: Mapping[str, str]
    asked: list[str]
    said: Mapping[str, str]
    """Its lines by what stands before the colon."""
    log: str
    chunk_without_hub: str
    """What MAKE_A_CHUNK says in another process, without a network."""

    def has_fetched(self, repository: str, *files: str) -> bool:
        began = tuple(f"GET /{repository}/resolve/{revision}/" for revision in ("main", self.commits[repository]))
        return {*files} <= {one.removeprefix(begin) for one in self.asked for begin in began if one.startswith(begin)}


@pytest.fixture(scope="module")
def fetched(tmp_path_factory: pytest.TempPathFactory) -> Fetched:
    """An operator's pipeline for first chunks, a preset's refiner, and an image model."""
    folder = tmp_path_factory.mktemp("fetched")
    presets = folder / "presets"
    write_random_preset(presets / "toy", num_inference_steps=2)
    refining = write_random_preset(presets / "refining")
    refiner: dict[str, Any] = json.loads((refining / "preset.json").read_text())["refiner"]
    change_preset(refining, refiner={**refiner, "source": "diffusers:org/video-xl", "resampling": "plain"})
    shutil.rmtree(refining / "refiner")
    pipeline = write_text_to_video(folder / "pipeline")
    with running_hub() as hub:
        commits = {name: hub.publish(name, pipeline) for name in ("org/small-t2v", "org/video-xl")}
        commits["org/sdxl"] = hub.publish("org/sdxl", write_sdxl(folder / "sdxl"))
        variables = {
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(folder / "hub"),
            "LONGTAKE_PRESETS_DIR": str(presets),
            "LONGTAKE_FIRST_CHUNK_SOURCE": "diffusers:org/small-t2v",
        }
        ended = _run(FETCH_IMAGE_MODELS + MAKE_A_CHUNK + FETCH_REFINER, variables)
        asked = [*hub.asked]
        hub.out_of_order = True
        without_hub = _run(MAKE_A_CHUNK, {**variables, "HF_HUB_OFFLINE": "1"})
    said = dict(line.split(": ", 1) for line in ended.stdout.splitlines())
    return Fetched(commits, asked, said, ended.stderr, without_hub.stdout.strip().removeprefix("chunk: "))


def _run(script: str, variables: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", script]
    ended = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended


def test_an_operator_chooses_a_pipeline_by_its_hub_id(fetched: Fetched) -> None:
    assert "first chunk diffusers:org/small-t2v" in fetched.said["chunk"]
    assert "(16, 64, 64, 3)" in fetched.said["chunk"]
    assert fetched.chunk_without_hub == fetched.said["chunk"]


def test_a_preset_names_its_refiner_by_hub_id(fetched: Fetched) -> None:
    assert f"refiner diffusers:org/video-xl {fetched.commits['org/video-xl']}; " in fetched.said["refiner"]
    assert fetched.has_fetched("org/video-xl", "unet/diffusion_pytorch_model.safetensors", "vae/config.json")


def test_an_image_model_is_fetched_before_it_is_loaded(fetched: Fetched) -> None:
    assert "no/where is not available, so requests need an image: " in fetched.log
    assert fetched.said["no image model"] == "not available"
    assert fetched.said["files of a variant"] == fetched.said["image model"] == fetched.commits["org/sdxl"]
    assert fetched.said["pipeline"] == "StableDiffusionXLPipeline"
    assert fetched.has_fetched("org/sdxl", "unet/diffusion_pytorch_model.safetensors", "vae/config.json")
