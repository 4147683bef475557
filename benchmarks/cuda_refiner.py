"""The refiner on a GPU: a window of 24 frames at 720x720 with random weights of MS-Vid2Vid-XL's size, bfloat16.

A window is one call of the engine, encoding and decoding included; every window gives 16 new frames. Part of
benchmarks.cuda.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from benchmarks.cuda_rig import GUIDANCE, Rig
from benchmarks.figures import Figure
from benchmarks.networks import SEED, random_refiner_unet, random_vae
from benchmarks.refinement import job
from core.model.networks.base_network import UntouchedBase
from core.model.refinement.engine import RefinerConfig, RefinerModels, WindowRefiner
from core.model.refinement.schedule import vid2vid_sigmas
from core.service.domain.engine import FramesTHWC, ignore_step
from core.service.domain.frame_plan import refinement_windows
from core.service.domain.refiner import RefineState
from core.service.domain.schema import JobSpec

STEPS = 30
_NUM_FRAMES = 40
"""Two windows; the first is refined."""


def measure_refiner(rig: Rig) -> Iterator[Figure]:
    """A window, uncompiled."""
    rig.free()
    yield from timed_window(rig, make_refiner(rig)[0], "eager")


def measure_compiled_refiner(rig: Rig) -> Iterator[Figure]:
    """A window compiled, and its difference from eager."""
    rig.free()
    refiner, network = make_refiner(rig)
    eager = window(rig, refiner, steps=2)
    network.compile(rig.for_windows)
    difference = float(np.abs(window(rig, refiner, steps=2).astype(int) - eager.astype(int)).mean())
    yield Figure("refiner, compiled: mean difference from eager", round(difference, 3), "levels", target=1)
    yield from timed_window(rig, refiner, "compiled")


def timed_window(rig: Rig, refiner: WindowRefiner, name: str) -> Iterator[Figure]:
    """A window, after one of two steps that warms up and compiles. Targets are for one H200 in the fastest mode."""
    window(rig, refiner, steps=2)
    rig.reset_peak()
    seconds, _ = rig.timed(lambda: window(rig, refiner, STEPS))
    note = f"720x720, {STEPS} steps, guidance, encoding and decoding included; stretch 12 s"
    target = 20 if name == "compiled" else None
    named = f"refiner, {name}: window of 24 frames, 16 of them new"
    yield Figure(named, round(seconds, 2), "s", target, note=note)
    yield Figure(f"refiner, {name}: peak memory", rounded(rig.peak_gigabytes()), "GB", target=24)


def rounded(gigabytes: float | None) -> float | None:
    return None if gigabytes is None else round(gigabytes, 2)


def make_refiner(rig: Rig) -> tuple[WindowRefiner, UntouchedBase]:
    """The UNet in the rig's dtype, the autoencoder in float32, as presets load them; and the compilable network."""
    size = rig.scale.refiner_size
    with rig.device:
        unet, vae = random_refiner_unet(size), random_vae(size)
    rig.place(unet, rig.dtype)
    network = UntouchedBase(unet)

    def encode_texts(texts: list[str]) -> Tensor:
        shape = (len(texts), size.text_tokens, size.text_width)
        return torch.randn(shape, generator=torch.Generator().manual_seed(SEED)).to(rig.device)

    config = RefinerConfig(vid2vid_sigmas(), "v_prediction", 0.2, vid2vid_resampling=True, windows_per_batch=1)
    return WindowRefiner(RefinerModels(network, vae, encode_texts), config, "random"), network


def window(rig: Rig, refiner: WindowRefiner, steps: int) -> FramesTHWC:
    """The first window of a video of two."""
    pixels = rig.scale.preview_pixels
    first = refinement_windows(_NUM_FRAMES)[0]
    preview = np.random.default_rng(SEED).integers(0, 256, (first.end_frame, pixels, pixels, 3), np.uint8)
    return refiner.refine_window(request(rig, steps), RefineState(), preview, ignore_step).frames


def request(rig: Rig, steps: int) -> JobSpec:
    """Two windows at the scale's size."""
    spec = job("streaming", _NUM_FRAMES)
    assert spec.refine is not None
    pixels = rig.scale.refined_pixels
    changes = {
        "height": pixels,
        "width": pixels,
        "num_inference_steps": rig.scale.steps[steps],
        "guidance_scale": GUIDANCE,
    }
    return spec.model_copy(update={"refine": spec.refine.model_copy(update=changes)})
