"""Small presets of the engine `text2video_zero` with random weights, in the layout of diffusers' pipelines."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

from core.service.domain.engine import FramesTHWC
from tests.helpers.pipelines import write_sdxl, write_stable_diffusion

SIDE = 16
"""Pixels of the presets: the autoencoder halves them once, the UNet once more."""
STEPS = 4
PNDM = {"_class_name": "PNDMScheduler", "skip_prk_steps": True}
EULER = {
    "_class_name": "EulerDiscreteScheduler",
    "interpolation_type": "linear",
    "prediction_type": "epsilon",
    "timestep_spacing": "leading",
}


def write_zero_preset(folder: Path, *, xl: bool = False, control: tuple[str, ...] = ("canny",), **keys: Any) -> Path:
    """A preset folder that is its own weights folder; `keys` replace those of preset.json."""
    (write_sdxl if xl else write_stable_diffusion)(folder)
    write_scheduler(folder, **(EULER if xl else PNDM))
    for seed, control_type in enumerate(control):
        write_controlnet(folder, control_type, seed)
    write_zero_json(folder, control=list(control), **keys)
    return folder


def write_zero_json(folder: Path, **keys: Any) -> None:
    """preset.json of tests."""
    content: dict[str, Any] = {
        "name": folder.name,
        "description": "Random weights.",
        "engine": "text2video_zero",
        "height": SIDE,
        "width": SIDE,
        "fps": 8,
        "max_prompt_tokens": 22,
        "num_inference_steps": STEPS,
        "guidance_scale": 7.5,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "preset.json").write_text(json.dumps(content | keys), encoding="utf-8")


def write_scheduler(folder: Path, **keys: Any) -> None:
    """The config of Stable Diffusion's repositories, whose samplers are others than DDIM; `keys` differ."""
    config: dict[str, Any] = {
        "num_train_timesteps": 1000,
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "set_alpha_to_one": False,
        "steps_offset": 1,
        "clip_sample": False,
        "trained_betas": None,
    }
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(config | keys), encoding="utf-8")


def write_controlnet(folder: Path, control_type: str, seed: int = 0) -> None:
    """A ControlNet that has an effect: fresh ones end in zeros."""
    unet: Any = UNet2DConditionModel.from_pretrained(folder / "unet")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network: Any = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(4, 8))
        with torch.no_grad():
            for weight in network.parameters():
                if not weight.any():
                    weight.normal_(std=0.2)
    network.save_pretrained(folder / "controlnet" / control_type)


def control_frames(num_frames: int, side: int = SIDE) -> FramesTHWC:
    """A bright square that moves to the right over a dark background, a pixel per frame."""
    frames = np.full((num_frames, side, side, 3), 20, np.uint8)
    for index, frame in enumerate(frames):
        left = index % (side - 6)
        frame[4:10, left : left + 6] = (220, 60, 40)
    return frames


class Frames:
    """A FrameReader over frames in memory, which remembers how many it was asked for at once."""

    def __init__(self, frames: FramesTHWC) -> None:
        self._frames = frames
        self.counts: list[int] = []
        self.num_frames, self.height, self.width = frames.shape[:3]

    def read(self, start: int, count: int) -> FramesTHWC:
        assert start >= 0
        assert start + count <= self.num_frames
        self.counts.append(count)
        return self._frames[start : start + count]
