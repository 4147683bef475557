"""Windows equal those of diffusers' pipelines on the same weights, with the same draws in the same order.

The draws are the noise of frame 0, then that of all other frames of a window at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
import torch
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.pipelines.controlnet.pipeline_controlnet import StableDiffusionControlNetPipeline
from diffusers.pipelines.controlnet.pipeline_controlnet_sd_xl import StableDiffusionXLControlNetPipeline
from diffusers.pipelines.deprecated.text_to_video_synthesis.pipeline_text_to_video_zero import (
    CrossFrameAttnProcessor2_0,
    TextToVideoZeroPipeline,
)
from diffusers.pipelines.deprecated.text_to_video_synthesis.pipeline_text_to_video_zero_sdxl import (
    TextToVideoZeroSDXLPipeline,
)
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor

from core.model.engines.text2video_zero.control import control_maps
from core.model.engines.text2video_zero.engine import TextToVideoZeroEngine
from core.model.pipelines.window_engine import Arrays, WindowRequest
from core.model.sampling.noise import seeded
from core.service.domain.engine import NO_INPUT_MEDIA, InputMedia, ignore_step
from core.service.domain.schema import JobSpec
from tests.helpers.pipelines_zero import SIDE, Frames, control_frames
from tests.unit.core.model.engines.text2video_zero.conftest import canny, load, zero_spec

PROMPT, NEGATIVE, SEED = "a red circle", "blurred", 7
CONTROL_STEPS = 3
NO_SAFETY: dict[str, Any] = {"safety_checker": None, "feature_extractor": None}
NO_WATERMARK: dict[str, Any] = {"add_watermarker": False}
pytestmark = [
    pytest.mark.filterwarnings("ignore:torch.meshgrid:UserWarning"),
    pytest.mark.filterwarnings("ignore:Default grid_sample:UserWarning"),
]


def theirs(kind: Any, folder: Path, **parts: Any) -> Any:
    """A pipeline of the library, with DDIM."""
    scheduler = DDIMScheduler.from_config(cast(Any, DDIMScheduler).load_config(folder / "scheduler"))
    pipeline = kind.from_pretrained(folder, scheduler=scheduler, local_files_only=True, **parts)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def windows(
    engine: TextToVideoZeroEngine, spec: JobSpec, inputs: InputMedia = NO_INPUT_MEDIA, count: int = 1
) -> Tensor:
    """Latents of the last of so many windows."""
    generator, arrays, latents = seeded(spec.seed), cast(Arrays, {}), torch.zeros(0)
    for index in range(count):
        request = WindowRequest(spec, 16 * index, arrays, generator, inputs, f"chunk {index}")
        with torch.inference_mode():
            latents, arrays = engine.make_window(request, ignore_step)
    return latents


def assert_equal(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


def ask(num_steps: int, t0: int, t1: int, **more: Any) -> dict[str, Any]:
    return {
        "prompt": PROMPT,
        "negative_prompt": NEGATIVE,
        "num_inference_steps": num_steps,
        "guidance_scale": 7.5,
        "height": SIDE,
        "width": SIDE,
        "t0": t0,
        "t1": t1,
        "output_type": "latent",
        **more,
    }


@pytest.mark.parametrize(
    ("num_steps", "t0", "t1", "motion"),
    [(50, 44, 47, (12.0, 12.0)), (5, 3, 4, (-30.0, 7.5))],
)
def test_first_window_equals_the_librarys(
    folder: Path, engine: TextToVideoZeroEngine, num_steps: int, t0: int, t1: int, motion: tuple[float, float]
) -> None:
    pipeline = theirs(TextToVideoZeroPipeline, folder, **NO_SAFETY)
    spec = zero_spec(
        prompt=PROMPT,
        negative_prompt=NEGATIVE,
        num_inference_steps=num_steps,
        parameters={"motion_x": motion[0], "motion_y": motion[1]},
    )

    x, y = motion
    asked = ask(num_steps, t0, t1, video_length=16, motion_field_strength_x=x, motion_field_strength_y=y)
    expected = pipeline(**asked, generator=seeded(SEED)).images

    assert_equal(windows(engine, spec), expected)


def test_second_window_equals_the_librarys_with_frame_0_in_front(folder: Path, engine: TextToVideoZeroEngine) -> None:
    pipeline = theirs(TextToVideoZeroPipeline, folder, **NO_SAFETY)
    spec = zero_spec(prompt=PROMPT, negative_prompt=NEGATIVE, num_inference_steps=3)

    generator = seeded(SEED)
    noise = torch.randn(1, 4, SIDE // 2, SIDE // 2, generator=generator)
    torch.randn(15, 4, SIDE // 2, SIDE // 2, generator=generator)
    asked = ask(3, 1, 2, video_length=17, frame_ids=[0, *range(16, 32)], latents=noise)
    expected = pipeline(**asked, generator=generator).images[1:]

    assert_equal(windows(engine, spec, count=2), expected)


def test_stable_diffusion_xl_equals_the_librarys(xl_folder: Path) -> None:
    pipeline = theirs(TextToVideoZeroSDXLPipeline, xl_folder, **NO_WATERMARK)
    spec = zero_spec(prompt=PROMPT, negative_prompt=NEGATIVE, num_inference_steps=3)

    expected = pipeline(**ask(3, 1, 2, video_length=16), generator=seeded(SEED)).images

    assert_equal(windows(load(xl_folder), spec), expected)


def test_no_negative_prompt_of_xl_is_zeros_as_in_the_library(xl_folder: Path) -> None:
    pipeline = theirs(TextToVideoZeroSDXLPipeline, xl_folder, **NO_WATERMARK)

    expected = pipeline(**ask(3, 1, 2, video_length=16) | {"negative_prompt": None}, generator=seeded(SEED)).images

    assert_equal(windows(load(xl_folder), zero_spec(prompt=PROMPT, num_inference_steps=3)), expected)


def with_control(kind: Any, folder: Path, batch_size: int) -> Any:
    controlnet: Any = ControlNetModel.from_pretrained(folder / "controlnet" / "canny")
    extra = NO_WATERMARK if kind is StableDiffusionXLControlNetPipeline else {}
    pipeline = theirs(kind, folder, controlnet=controlnet, **extra)
    pipeline.unet.set_attn_processor(CrossFrameAttnProcessor2_0(batch_size=batch_size))
    pipeline.controlnet.set_attn_processor(CrossFrameAttnProcessor2_0(batch_size=batch_size))
    return pipeline


def controlled(pipeline: Any, guidance_scale: float, **more: Any) -> Tensor:
    """The library's latents: one noise for all frames, and a map for each."""
    noise = torch.randn(1, 4, SIDE // 2, SIDE // 2, generator=seeded(SEED))
    return pipeline(
        prompt=[PROMPT] * 16,
        negative_prompt=[NEGATIVE] * 16,
        image=control_maps("canny", control_frames(16)),
        latents=noise.repeat(16, 1, 1, 1),
        num_inference_steps=CONTROL_STEPS,
        guidance_scale=guidance_scale,
        output_type="latent",
        **more,
    ).images


@pytest.mark.parametrize(
    ("guidance_scale", "scale", "start", "end"), [(9.0, 1.0, 0.0, 1.0), (9.0, 0.6, 0.1, 0.7), (1.0, 1.0, 0.0, 1.0)]
)
def test_control_equals_the_librarys_controlnet_pipeline(
    folder: Path, engine: TextToVideoZeroEngine, guidance_scale: float, scale: float, start: float, end: float
) -> None:
    pipeline = with_control(StableDiffusionControlNetPipeline, folder, 1 if guidance_scale == 1 else 2)
    expected = controlled(
        pipeline,
        guidance_scale,
        controlnet_conditioning_scale=scale,
        control_guidance_start=start,
        control_guidance_end=end,
    )
    spec = zero_spec(
        prompt=PROMPT,
        negative_prompt=NEGATIVE,
        num_inference_steps=CONTROL_STEPS,
        guidance_scale=guidance_scale,
        control=canny(scale=scale, start=start, end=end),
    )

    assert_equal(windows(engine, spec, InputMedia(video=Frames(control_frames(32)))), expected)


def test_control_of_xl_equals_the_librarys_controlnet_pipeline(xl_folder: Path) -> None:
    expected = controlled(with_control(StableDiffusionXLControlNetPipeline, xl_folder, 2), 5.0)
    spec = zero_spec(
        prompt=PROMPT, negative_prompt=NEGATIVE, num_inference_steps=CONTROL_STEPS, guidance_scale=5.0, control=canny()
    )

    assert_equal(windows(load(xl_folder), spec, InputMedia(video=Frames(control_frames(32)))), expected)
