"""A small preset of the engine `instruct_pix2pix` with random weights, in the layout of the Hub's repository."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import numpy as np
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion_instruct_pix2pix import (
    StableDiffusionInstructPix2PixPipeline,
)
from diffusers.schedulers.scheduling_euler_ancestral_discrete import EulerAncestralDiscreteScheduler
from tokenizers import Tokenizer

from core.service.domain.engine import FramesTHWC
from tests.helpers.pipelines import autoencoder, seeded, text_encoder, tokenizer, unet_2d

SIDE = 16
"""Pixels of a video; its latents have half as many."""


@seeded
def write_instruct_pix2pix(folder: Path) -> None:
    """preset.json and, beside it, the weights."""
    new_pipeline = cast(Any, StableDiffusionInstructPix2PixPipeline)
    new_pipeline(
        autoencoder(),
        text_encoder(),
        tokenizer(),
        unet_2d(in_channels=8),
        EulerAncestralDiscreteScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"),
        None,
        None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    _let_pad(folder / "tokenizer" / "tokenizer.json")
    (folder / "preset.json").write_text(json.dumps(_preset_json(folder.name)), encoding="utf-8")


def _let_pad(file: Path) -> None:
    """As installing does: padding is in the file itself."""
    read = Tokenizer.from_file(str(file))
    read.enable_padding(pad_id=read.token_to_id("<|endoftext|>"), pad_token="<|endoftext|>")
    read.save(str(file))


def _preset_json(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "description": "Random weights.",
        "engine": "instruct_pix2pix",
        "height": SIDE,
        "width": SIDE,
        "fps": 8,
        "max_prompt_tokens": 22,
        "num_inference_steps": 2,
        "guidance_scale": 7.5,
        "size": {"multiple_of": 2, "min_side": 16, "max_side": 64, "max_pixels": 4096},
    }


class FramesReader:
    """An input video in memory, which notes what is read of it: (start, count)."""

    def __init__(self, frames: FramesTHWC) -> None:
        self._frames = frames
        self.reads = list[tuple[int, int]]()

    @property
    def num_frames(self) -> int:
        return len(self._frames)

    @property
    def height(self) -> int:
        return self._frames.shape[1]

    @property
    def width(self) -> int:
        return self._frames.shape[2]

    def read(self, start: int, count: int) -> FramesTHWC:
        assert 0 < count <= self.num_frames - start, (start, count)
        self.reads.append((start, count))
        return self._frames[start : start + count]


def noise_video(num_frames: int, height: int = SIDE, width: int = SIDE) -> FramesReader:
    """Different in every frame; the same whenever it is asked for, and the beginning of every longer one."""
    drawn = np.random.default_rng(3).integers(0, 256, (num_frames, height, width, 3), np.uint8)
    return FramesReader(drawn)
