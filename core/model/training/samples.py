"""What the networks can do by now, as pictures: a contact sheet and a video, made while they train.

Runs the engines that the service runs, on the networks in training, and leaves these as they were. Knows no stage, no
data and no loop: frames to begin with are given.

Shapes: frames are uint8 [T, H, W, 3].
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_3d_condition import UNet3DConditionModel

from core.model.engines.streaming_t2v.engine import EngineConfig, LoadedModels, StreamingT2VEngine
from core.model.engines.streaming_t2v.first_chunk.base import BaseFirstChunk
from core.model.engines.streaming_t2v.first_chunk.source import FirstChunkRequest
from core.model.engines.streaming_t2v.loading import profile_configs
from core.model.engines.streaming_t2v.network import StreamingNetwork
from core.model.engines.streaming_t2v.preset import StreamingPreset
from core.model.networks.base_network import UntouchedBase
from core.model.networks.encoders import PictureReader, TextReader
from core.model.refinement.engine import RefinerModels, WindowRefiner
from core.model.refinement.loading import refiner_config
from core.model.refinement.preset import sdedit_of
from core.model.sampling.noise import seeded_for
from core.model.sampling.vae import downsampling, to_uint8
from core.model.training.loop import Sampler
from core.model.training.memory_stage import Memory
from core.service.admission.catalog import default_spec
from core.service.admission.refine_request import refine_spec_of
from core.service.domain.engine import FramesTHWC, InputMedia, ignore_step
from core.service.domain.frame_plan import CHUNK_FRAMES
from core.service.domain.refiner import RefineState
from core.service.domain.schema import DEFAULT_PROFILE
from core.service.video.contact_sheet import contact_sheet
from core.service.video.final_video import join_chunks
from core.service.video.segments import encode_chunk

FOLDER = "samples"
"""Where a stage's samples are, in its own folder."""
_SEED = 1


@dataclass(frozen=True)
class Row:
    """A clip with what it shows; lines after the first of a label are details."""

    label: str
    frames: FramesTHWC


@dataclass(frozen=True)
class Parts:
    """What samples are made with, beside the networks in training."""

    vae: AutoencoderKL
    """Knows its scaling factor."""
    read_texts: TextReader
    read_pictures: PictureReader
    preset: StreamingPreset
    """How its samplers are set; its size is that of the samples."""


@dataclass(frozen=True)
class Opening:
    """A prompt and 16 frames that a video begins with."""

    prompt: str
    frames: FramesTHWC


def keeping(folder: Path, fps: int | Fraction, show: Callable[[], Sequence[Row]]) -> Sampler:
    """A sampler that writes what `show` returns to samples/<steps>.png and .mp4 of a stage's folder."""

    def sample(step: int) -> None:
        rows = show()
        out = folder / FOLDER
        out.mkdir(exist_ok=True)
        pieces = [
            (row.frames[first : first + CHUNK_FRAMES], "" if first else f"\n{row.label}")
            for row in rows
            for first in range(0, len(row.frames), CHUNK_FRAMES)
        ]
        sheet = contact_sheet(
            [piece for piece, _ in pieces], [label for _, label in pieces], title=f"{folder.name}, step {step}"
        )
        sheet.save(out / f"{step:08}.png")
        write_video(side_by_side([row.frames for row in rows]), fps, out / f"{step:08}.mp4")

    return sample


def side_by_side(clips: Sequence[FramesTHWC]) -> FramesTHWC:
    """One clip of all, on a black ground; shorter ones stand still at their end, lower ones hang at the top."""
    length, height = max(len(clip) for clip in clips), max(clip.shape[1] for clip in clips)
    padding = ((0, height - clip.shape[1]) for clip in clips)
    return np.concatenate(
        [
            np.pad(clip[np.minimum(np.arange(length), len(clip) - 1)], ((0, 0), rows, (0, 0), (0, 0)))
            for clip, rows in zip(clips, padding, strict=True)
        ],
        axis=2,
    )


def write_video(frames: FramesTHWC, fps: int | Fraction, path: Path) -> None:
    """An MP4 of any length."""
    firsts = range(0, len(frames), CHUNK_FRAMES)
    chunks = (
        encode_chunk(frames[first : first + CHUNK_FRAMES], fps, index, first).data for index, first in enumerate(firsts)
    )
    join_chunks(chunks, path)


def first_chunks(parts: Parts, unet: UNet3DConditionModel, prompts: Sequence[str]) -> list[Row]:
    """What the base alone makes of prompts."""
    recipe = profile_configs(parts.preset, unet.device)[DEFAULT_PROFILE].first_chunk
    factor = downsampling(parts.vae)
    shape = (1, unet.conv_in.in_channels, CHUNK_FRAMES, parts.preset.height // factor, parts.preset.width // factor)
    with _processors_kept(unet):
        source = BaseFirstChunk(UntouchedBase(unet), parts.read_texts, parts.vae, recipe, shape)
        requests = {
            prompt: FirstChunkRequest(
                prompt,
                parts.preset.negative_prompt,
                recipe.plan.num_steps,
                recipe.guidance_scale,
                seeded_for(_SEED, prompt),
            )
            for prompt in prompts
        }
        return [Row(prompt, to_uint8(source(request, ignore_step))) for prompt, request in requests.items()]


def continued(parts: Parts, unet: UNet3DConditionModel, memory: Memory, openings: Sequence[Opening]) -> list[Row]:
    """Given chunks, and what the windows make of them: 16 frames each, then 16 more."""
    with _processors_kept(unet):
        engine = engine_around(parts, unet, memory, "in training")
        return [Row(opening.prompt, _continued(engine, parts.preset, opening)) for opening in openings]


def engine_around(parts: Parts, unet: UNet3DConditionModel, memory: Memory, fingerprint: str) -> StreamingT2VEngine:
    """The service's engine on networks that are in memory. It puts attention processors of its own into `unet`."""
    network = StreamingNetwork(unet, memory.cam, memory.mergers, memory.mixers, memory.expander)
    models = LoadedModels(network, network, parts.vae, parts.read_texts, parts.read_pictures)
    profiles = profile_configs(parts.preset, unet.device)
    facts = EngineConfig(parts.preset.height, parts.preset.width, profiles, fingerprint)
    return StreamingT2VEngine(_Held(models, unet.device), facts)


def _continued(engine: StreamingT2VEngine, preset: StreamingPreset, opening: Opening) -> FramesTHWC:
    spec = default_spec(preset, opening.prompt, 2 * CHUNK_FRAMES, _SEED)
    given = engine.next_chunk(spec, engine.start(spec, InputMedia(frames=opening.frames)), ignore_step)
    return np.concatenate([given.frames, engine.next_chunk(spec, given.state, ignore_step).frames])


def refined(parts: Parts, unet: UNet3DConditionModel, opening: Opening) -> list[Row]:
    """A preview of at most a window's length, and what the refiner makes of it."""
    facts = sdedit_of(parts.preset)
    with _processors_kept(unet):
        engine = WindowRefiner(
            RefinerModels(UntouchedBase(unet), parts.vae, parts.read_texts), refiner_config(facts), "in training"
        )
        plain = default_spec(parts.preset, opening.prompt, len(opening.frames), _SEED)
        spec = plain.model_copy(update={"refine": refine_spec_of(True, parts.preset)})
        window = engine.refine_window(spec, RefineState(), opening.frames, ignore_step)
    return [Row(f"{opening.prompt}\npreview", opening.frames), Row("refined", window.frames)]


@dataclass(frozen=True)
class _Held:
    """Models that are there, as the engine's loader; they keep the precision in which they train."""

    models: LoadedModels
    device: torch.device

    def at(self, dtype: torch.dtype) -> LoadedModels:
        del dtype
        return self.models


@contextmanager
def _processors_kept(unet: UNet3DConditionModel) -> Generator[None]:
    """Engines put attention processors of their own into a UNet; afterwards those of the training are back."""
    own = dict(unet.attn_processors)
    try:
        yield
    finally:
        unet.set_attn_processor(own)
