"""Which continuation of CogVideoX drifts less: `python -m benchmarks.cogvideox_drift --minutes 8`.

Trains two small transformers for so many minutes each on a bright square that moves over a plain ground: one from text,
one from an image. Then the engine makes long videos with both, and the colours of the ground, the square's size and its
motion are compared with those of the first window. A fixed code stands in for the autoencoder, so nothing of this says
how much the real one loses at each seam.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from diffusers.pipelines.cogvideo.pipeline_cogvideox import CogVideoXPipeline
from diffusers.pipelines.cogvideo.pipeline_cogvideox_image2video import CogVideoXImageToVideoPipeline
from diffusers.pipelines.cogvideo.pipeline_cogvideox_video2video import CogVideoXVideoToVideoPipeline
from numpy.typing import NDArray
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from transformers import T5EncoderModel, T5Tokenizer

from core.model.engines.cogvideox.engine import CogVideoXEngine
from core.model.engines.cogvideox.preset import CogVideoXPreset
from core.model.engines.cogvideox.windows import Pipelines
from core.service.domain.engine import InputMedia, ignore_step
from core.service.domain.schema import JobSpec
from tests.helpers.pipelines_cogvideox import autoencoder, scheduler, transformer, write_installed

SIDE, BLOCK, GROUP = 16, 2, 4
"""Pixels of a side, pixels and frames of a latent one."""
CHANNELS = 3 * GROUP
WINDOW, BATCH, CLIPS = 17, 8, 4096
VIDEOS, FRAMES, STEPS = 4, 192, 16
PROMPT = "a"


class Posterior:
    """diffusers' name for what an encoder returns; this one has no variance."""

    def __init__(self, latents: Tensor) -> None:
        self._latents = latents

    def mode(self) -> Tensor:
        return self._latents

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        del generator
        return self._latents


class Code:
    """In the place of the autoencoder: a latent frame is four frames of half the size.

    The first one is frame 0 four times. Loses nothing of these clips.
    """

    dtype = torch.float32
    config = SimpleNamespace(sample_height=SIDE, sample_width=SIDE, invert_scale_latents=False)

    def encode(self, video_B3FPR: Tensor, *, return_dict: bool = True) -> Any:
        small = torch.nn.functional.avg_pool3d(video_B3FPR, (1, BLOCK, BLOCK))
        padded = torch.cat([small[:, :, :1].expand(-1, -1, GROUP - 1, -1, -1), small], dim=2)
        latents = padded.unflatten(2, (-1, GROUP)).transpose(2, 3).flatten(1, 2)
        posterior = Posterior(latents)
        return SimpleNamespace(latent_dist=posterior) if return_dict else (posterior,)

    def decode(self, latents_BCFHW: Tensor) -> Any:
        frames = latents_BCFHW.unflatten(1, (3, GROUP)).transpose(2, 3).flatten(2, 3)[:, :, GROUP - 1 :]
        return SimpleNamespace(sample=frames.repeat_interleave(BLOCK, 3).repeat_interleave(BLOCK, 4))

    def enable_tiling(self) -> None:
        """Needs no tiles."""

    disable_tiling = enable_tiling


def clips(generator: torch.Generator, count: int) -> Tensor:
    """[count, 3, WINDOW, SIDE, SIDE] in [-1, 1]: a square on a darker ground, straight on until it bounces."""

    def drawn(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    cells = SIDE // BLOCK
    angle, speed = drawn(count, 1) * 2 * math.pi, 0.15 + 0.2 * drawn(count, 1)
    start, velocity = 1.5 + (cells - 3) * drawn(count, 2), speed * torch.cat([angle.cos(), angle.sin()], 1)
    way = (start[:, None] - 1.5 + velocity[:, None] * torch.arange(WINDOW)[None, :, None]) / (cells - 3) % 2
    centre = 1.5 + (cells - 3) * torch.where(way > 1, 2 - way, way)
    ground, square = -0.9 + 0.8 * drawn(count, 3, 1, 1, 1), 0.2 + 0.7 * drawn(count, 3, 1, 1, 1)
    distance = (torch.arange(cells)[None, None, :, None] + 0.5 - centre[:, :, None]).abs()
    inside = (1.5 + 0.5 - distance).clamp(0, 1)
    mask = inside[:, None, :, :, None, 0] * inside[:, None, :, None, :, 1]
    return (ground * (1 - mask) + square * mask).repeat_interleave(BLOCK, 3).repeat_interleave(BLOCK, 4)


def pipeline_of(folder: Path, *, image: bool) -> Any:
    """A pipeline whose transformer is new."""
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"num_attention_heads": 2, "attention_head_dim": 32, "num_layers": 3, "time_embed_dim": 64}
    shape: dict[str, Any] = {"in_channels": CHANNELS * (2 if image else 1), "out_channels": CHANNELS}
    network = transformer(rotary=True, sample_width=SIDE // BLOCK, sample_height=SIDE // BLOCK, **sizes, **shape)
    kind: Any = CogVideoXImageToVideoPipeline if image else CogVideoXPipeline
    texts: Any = T5EncoderModel.from_pretrained(folder / "text_encoder")
    words: Any = T5Tokenizer.from_pretrained(folder / "tokenizer")
    pipeline = kind(tokenizer=words, text_encoder=texts, vae=autoencoder(), transformer=network, scheduler=scheduler())
    return with_code(pipeline)


def with_code(pipeline: Any) -> Any:
    pipeline.vae = Code()
    pipeline.vae_scale_factor_spatial, pipeline.vae_scale_factor_temporal = BLOCK, GROUP
    pipeline.vae_scaling_factor_image = 1.5
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def train(pipeline: Any, minutes: float, *, image: bool) -> None:
    """Velocity prediction as in training CogVideoX; the average of the weights stays in the pipeline."""
    generator = torch.Generator().manual_seed(1)
    network = pipeline.transformer.train()
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.998))
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=0.0)
    with torch.no_grad():
        text = pipeline.encode_prompt(PROMPT, do_classifier_free_guidance=False, max_sequence_length=12)[0]
        whole = latents_of(pipeline, clips(generator, CLIPS))
    rotary = pipeline._prepare_rotary_positional_embeddings(SIDE, SIDE, whole.shape[1], torch.device("cpu"))
    started, step, loss = time.monotonic(), 0, torch.zeros(())
    while (done := (time.monotonic() - started) / (60 * minutes)) < 1:
        optimizer.param_groups[0]["lr"] = 1e-3 * min(1.0, step / 100) * (1 - done) + 1e-5
        latents = whole[torch.randint(CLIPS, (BATCH,), generator=generator)]
        times = torch.randint(1000, (BATCH,), generator=generator)
        noise = torch.randn(latents.shape, generator=generator)
        noisy = pipeline.scheduler.add_noise(latents, noise, times)
        first = torch.cat([latents[:, :1], torch.zeros_like(latents[:, 1:])], dim=1)
        inputs = torch.cat([noisy, first], dim=2) if image else noisy
        drawn = network(inputs, text.expand(BATCH, -1, -1), times, image_rotary_emb=rotary, return_dict=False)[0]
        loss = (drawn - pipeline.scheduler.get_velocity(latents, noise, times)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        average.update_parameters(network)
        step += 1
        if step % 200 == 0:
            print(f"{'image' if image else 'text'}: step {step}, loss {loss.item():.4f}", flush=True)
    print(f"{'image' if image else 'text'}: {step} steps, loss {loss.item():.4f}", flush=True)
    pipeline.transformer = average.module.eval()


def latents_of(pipeline: Any, video: Tensor) -> Tensor:
    return (Code().encode(video, return_dict=False)[0].mode() * pipeline.vae_scaling_factor_image).transpose(1, 2)


def engine_of(pipeline: Any, **values: Any) -> CogVideoXEngine:
    own = {"name": "drift", "description": "", "engine": "cogvideox", "height": SIDE, "width": SIDE, "fps": 8}
    sampling = {"max_prompt_tokens": 11, "num_inference_steps": STEPS, "guidance_scale": 1.0, "window_frames": WINDOW}
    preset = CogVideoXPreset.model_validate({**own, **sampling, **values})
    if preset.takes_image:
        return CogVideoXEngine(Pipelines(pipeline), preset, torch.device("cpu"), "")
    video = with_code(CogVideoXVideoToVideoPipeline(**{**pipeline.components, "vae": autoencoder()}))
    return CogVideoXEngine(Pipelines(pipeline, video), preset, torch.device("cpu"), "")


def video_of(engine: CogVideoXEngine, seed: int, inputs: InputMedia) -> NDArray[np.float64]:
    """[FRAMES, cells, cells, 3] in [0, 1]."""
    spec = JobSpec(
        prompt=PROMPT, negative_prompt="", num_frames=FRAMES, fps=8, seed=seed, model="drift", guidance_scale=1.0,
        num_inference_steps=STEPS, parameters={"strength": 0.8},
    )  # fmt: skip
    state, frames = engine.start(spec, inputs), list[NDArray[np.uint8]]()
    while state.frames_done < FRAMES:
        chunk = engine.next_chunk(spec, state, ignore_step)
        state = chunk.state
        frames.append(chunk.frames)
    return np.concatenate(frames)[:, ::BLOCK, ::BLOCK] / 255


def figures_of(video: NDArray[np.float64], seams: range) -> dict[str, float]:
    """How far the last 32 frames are from the first 16, and what a seam does to motion."""
    ground = np.median(video, axis=(1, 2))
    weight = (video - ground[:, None, None]).mean(axis=-1).clip(0)
    mass = weight.sum(axis=(1, 2))
    cells = np.arange(video.shape[1]) + 0.5
    centre = np.stack([(weight.sum(axis=axis) * cells).sum(axis=1) for axis in (2, 1)], 1) / (mass[:, None] + 1e-9)
    jumps = np.linalg.norm(np.diff(centre, axis=0), axis=1)
    turns = np.linalg.norm(np.diff(centre, n=2, axis=0), axis=1)
    at_seams = [turns[seam - 2 : seam].max() for seam in seams]
    return {
        "ground, levels of 255": 255 * float(np.abs(ground[-32:].mean(0) - ground[:16].mean(0)).mean()),
        "square's mass, end / start": float(mass[-32:].mean() / mass[:16].mean()),
        "speed, cells per frame": float(np.median(jumps)),
        "jump at a seam / elsewhere": float(np.mean([jumps[seam - 1] for seam in seams]) / np.median(jumps)),
        "turn at a seam / elsewhere": float(np.mean(at_seams) / np.median(turns)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=8.0, help="of training, for each of the two transformers")
    minutes = parser.parse_args().minutes
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = write_installed(Path(name))
        text, image = pipeline_of(folder, image=False), pipeline_of(folder, image=True)
    train(text, minutes, image=False)
    train(image, minutes, image=True)
    first = (
        clips(torch.Generator().manual_seed(9), VIDEOS)[:, :, 0].add(1).mul(127.5).round().byte().permute(0, 2, 3, 1)
    )
    ways = {
        "last frame": (engine_of(image, continuation="last_frame"), range(WINDOW, FRAMES, WINDOW - 1)),
        **{
            f"overlap, strength {strength}": (
                engine_of(text, continuation="overlap", continuation_strength=strength),
                range(WINDOW, FRAMES, WINDOW - 9),
            )
            for strength in (1.0, 0.8, 0.6)
        },
    }
    for way, (engine, seams) in ways.items():
        videos = [video_of(engine, seed, InputMedia(image=first[seed].numpy())) for seed in range(VIDEOS)]
        found = [figures_of(video, seams) for video in videos]
        print(way, json.dumps({key: round(float(np.mean([one[key] for one in found])), 3) for key in found[0]}))


if __name__ == "__main__":
    main()
