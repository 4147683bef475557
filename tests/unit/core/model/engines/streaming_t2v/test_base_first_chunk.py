"""The preset's own base UNet as a source: the same numbers as diffusers' pipeline of the published first chunk."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.pipelines.deprecated.text_to_video_synthesis.pipeline_text_to_video_synth import TextToVideoSDPipeline
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from torch import Tensor

from core.model.engines.streaming_t2v.base_first_chunk import BaseFirstChunk
from core.model.engines.streaming_t2v.first_chunk.source import FirstChunkRequest
from core.model.engines.streaming_t2v.sampling import SamplingConfig
from core.model.networks.base_network import UntouchedBase
from core.model.sampling.noise import seeded
from core.model.sampling.samplers import SamplingPlan
from core.model.sampling.schedules import make_schedule
from core.service.domain.engine import ignore_step
from core.service.domain.errors import FieldNotSupported
from tests.unit.core.model.engines.streaming_t2v.conftest import ask_for

# diffusers' schedulers give numpy a tensor in a way that numpy 2 wants done otherwise.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

PLAN = SamplingPlan("dpm_solver_pp", 50, spacing="linspace", offset=1)
SHAPE = (1, 4, 16, 8, 8)


@pytest.fixture(scope="module")
def pipeline(pipelines: Path) -> Any:
    """As published: the repository's pipeline with DPM-Solver++ made of its scheduler's betas."""
    loaded: Any = TextToVideoSDPipeline.from_pretrained(pipelines / "text_to_video")
    loaded.scheduler = DPMSolverMultistepScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1
    )
    loaded.set_progress_bar_config(disable=True)
    return loaded


@pytest.fixture(scope="module")
def source(pipelines: Path) -> BaseFirstChunk:
    parts: Any = TextToVideoSDPipeline.from_pretrained(pipelines / "text_to_video")

    def encode_texts(texts: list[str]) -> Tensor:
        ids = parts.tokenizer(texts, padding="max_length", max_length=24, return_tensors="pt").input_ids
        states: Tensor = parts.text_encoder(ids).last_hidden_state
        return states

    config = SamplingConfig(PLAN, make_schedule(), 9.0)
    return BaseFirstChunk(UntouchedBase(parts.unet), encode_texts, parts.vae, config, SHAPE)


@torch.inference_mode()
@pytest.mark.parametrize(("steps", "scale"), [(50, 9.0), (7, 1.0)])
def test_the_first_chunk_is_the_pipeline_s(source: BaseFirstChunk, pipeline: Any, steps: int, scale: float) -> None:
    asked: dict[str, Any] = {"num_inference_steps": steps, "guidance_scale": scale}

    ours = source(ask_for(prompt="a cat", negative_prompt="rain", **asked), ignore_step)

    theirs = pipeline("a cat", negative_prompt="rain", generator=seeded(7), output_type="pt", **asked).frames[0]
    assert ours.shape == theirs.shape == (16, 3, 16, 16)
    assert (ours - theirs).abs().max() < 1e-4
    assert ours.std() > 0.01


@torch.inference_mode()
@pytest.mark.parametrize(
    "changed", [{"num_inference_steps": 3}, {"guidance_scale": 9.0}, {"prompt": "a dog"}, {"negative_prompt": "rain"}]
)
def test_every_field_acts(source: BaseFirstChunk, changed: dict[str, object]) -> None:
    assert not torch.equal(source(ask_for(**changed), ignore_step), source(ask_for(), ignore_step))


def test_it_begins_with_text_only(source: BaseFirstChunk) -> None:
    request: FirstChunkRequest = ask_for(image=np.zeros((8, 8, 3), np.uint8))

    with pytest.raises(FieldNotSupported):
        source(request, ignore_step)
