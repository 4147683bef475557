"""A small preset with random weights, its engine, and the library's pipeline on the same weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
import torch
from diffusers.pipelines.deprecated.text_to_video_synthesis.pipeline_text_to_video_zero import (
    CrossFrameAttnProcessor2_0,
)
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion_instruct_pix2pix import (
    StableDiffusionInstructPix2PixPipeline,
)

from core.model.engines.instruct_pix2pix.engine import InstructPix2PixEngine
from core.model.engines.instruct_pix2pix.loading import load_engine_of
from core.model.engines.instruct_pix2pix.preset import InstructPix2PixPreset
from core.service.domain.schema import JobSpec
from core.service.engines.load_context import LoadContext
from core.service.engines.preset import read_preset
from tests.helpers.jobs import job_spec
from tests.helpers.pipelines_instruct_pix2pix import write_instruct_pix2pix


def context_of(folder: Path) -> LoadContext[InstructPix2PixPreset]:
    preset = read_preset(folder, lambda _engine: InstructPix2PixPreset)
    return LoadContext(preset, folder, folder, torch_threads=1)


def edit_spec(num_frames: int, image_guidance_scale: float = 1.5, **changes: Any) -> JobSpec:
    """Two steps of "make it blue"."""
    values: dict[str, Any] = {
        "prompt": "make it blue",
        "negative_prompt": "ugly",
        "num_frames": num_frames,
        "guidance_scale": 7.5,
        "num_inference_steps": 2,
        "parameters": {"image_guidance_scale": image_guidance_scale},
        "profile": None,
        "first_chunk": None,
    }
    return job_spec(**(values | changes))


@pytest.fixture(scope="package")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_instruct_pix2pix(tmp_path_factory.mktemp("presets") / "editor")


@pytest.fixture(scope="package")
def engine(folder: Path) -> InstructPix2PixEngine:
    return load_engine_of(context_of(folder), "cpu")


@pytest.fixture(scope="package")
def resuming(folder: Path) -> InstructPix2PixEngine:
    return load_engine_of(context_of(folder), "cpu")


@pytest.fixture(scope="package")
def library(folder: Path) -> Any:
    """The library's pipeline, whose frames read the first one in each of the three guidance parts."""
    pipeline = cast(Any, StableDiffusionInstructPix2PixPipeline).from_pretrained(folder, dtype=torch.float32)
    pipeline.unet.set_attn_processor(CrossFrameAttnProcessor2_0(batch_size=3))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
