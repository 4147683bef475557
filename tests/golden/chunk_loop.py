"""Stem `chunk_loop`: consecutive autoregressive windows, each continuing from what our own code decoded before it.

Computed with the reference network from the recorded draws; the seeded generator must reproduce these bit for bit. The
serving network is shown beside it.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor
from torch.nn import functional

from core.model.engines.streaming_t2v.network import StreamingNetwork
from core.model.engines.streaming_t2v.sampling import (
    SamplingConfig,
    as_conditioning,
    sample_latents,
    window_context,
    window_denoiser,
)
from core.model.networks.picture_preprocessing import preprocess_picture
from core.model.sampling.guidance import num_halves
from core.model.sampling.noise import draw_frames_first, draw_video, seeded
from core.model.sampling.samplers import Denoiser, SamplingPlan, sample
from core.model.sampling.schedules import schedule_from_config
from core.model.sampling.vae import decode_frames
from core.service.domain.engine import ignore_step
from tests.golden.cam_apm_unet import expanded
from tests.golden.folder import NETWORK_STEM, GoldenError
from tests.golden.networks import golden_network
from tests.golden.report import Finding, largest_error
from tests.golden.stem import Stem
from tests.helpers.reference_network import ReferenceNetwork, guided

_CPU = torch.device("cpu")
_TOWER = "image_encoder.model.visual.proj."
_PICTURE_SIZE = 224
"""Input size of the substitute for the visual tower, if its description names no other."""


@dataclass(frozen=True)
class Loop:
    """What all windows of the stored video share."""

    stem: Stem
    network: StreamingNetwork
    vae: AutoencoderKL
    config: SamplingConfig
    text_BLD: Tensor
    """Both guidance halves, unconditional first."""

    def encode_images(self, pictures_B3PR: Tensor) -> Tensor:
        """The sidecar's substitute for the visual tower: average pool and one linear layer, one picture at a time."""
        weight, bias = self.stem.given(_TOWER + "weight"), self.stem.given(_TOWER + "bias")
        grid = math.isqrt(weight.shape[1] // 3)
        prepared = [preprocess_picture(picture.unsqueeze(0), self._picture_size()) for picture in pictures_B3PR]
        pooled = [functional.adaptive_avg_pool2d(picture, grid).flatten(1) for picture in prepared]
        return torch.cat([functional.linear(row, weight, bias) for row in pooled])

    def _picture_size(self) -> int:
        meaning: str = self.stem.sidecar["tensors"][_TOWER + "weight"]["meaning"]
        stated = re.search(r"preprocessed (\d+)x\1", meaning)
        return int(stated.group(1)) if stated else _PICTURE_SIZE

    def anchor(self) -> Tensor:
        """Frame 0 of the first chunk, in [-1, 1]."""
        return as_conditioning(self.stem.given("in.init_chunk_frame0"))

    def first_past(self) -> Tensor:
        """Conditioning frames of the first window, in [-1, 1]."""
        (name,) = [name for name in self.stem.tensors if name.startswith("in.init_chunk_frames")]
        return as_conditioning(self.stem.given(name))

    def windows(self) -> list[str]:
        """ "chunk1", "chunk2", ... in order."""
        numbers = {match.group(1) for name in self.stem.outputs() if (match := re.match(r"out\.chunk(\d+)\.", name))}
        return [f"chunk{number}" for number in sorted(map(int, numbers))]


@dataclass(frozen=True)
class Window:
    """Results of one window."""

    guided_SFCHW: Tensor
    latents_SFCHW: Tensor
    """After every step."""
    frames_F3PR: Tensor


def run(stem: Stem) -> Iterator[Finding]:
    """Schedule, draws, image tokens, then window after window."""
    network_stem = Stem.open(stem.folder, NETWORK_STEM)
    loop = Loop(stem, golden_network(stem.folder), _vae(stem), _recipe(stem), network_stem.given("in.text_states")[:2])
    yield _timesteps(loop)
    yield from _draws(loop)
    embeddings = loop.encode_images(torch.stack([torch.zeros_like(loop.anchor()), loop.anchor()]))
    tokens = expanded(loop.network, embeddings)
    yield stem.finding("out.image_embed_uncond", embeddings[:1])
    yield stem.finding("out.image_embed_cond", embeddings[1:])
    yield stem.finding("out.image_tokens_uncond_cond", tokens)
    for name, plain, served in zip(
        loop.windows(), _reference_windows(loop, tokens), _served_windows(loop), strict=True
    ):
        yield from _compare(stem, name, plain, served)


def _recipe(stem: Stem) -> SamplingConfig:
    scheduler: dict[str, Any] = stem.config["scheduler"]
    if scheduler["type"] != "DDIM" or scheduler["clip_sample"]:
        raise GoldenError(f"{stem.name}: only DDIM without clipping is followed, not {scheduler}")
    plan = SamplingPlan(
        "ddim",
        stem.config["steps"],
        eta=stem.config["eta"],
        spacing=scheduler["timestep_spacing"],
        offset=scheduler["steps_offset"],
    )
    schedule = schedule_from_config({**scheduler, "prediction_type": scheduler["prediction"]})
    return SamplingConfig(plan, schedule, stem.config["guidance_scale"])


def _vae(stem: Stem) -> AutoencoderKL:
    """The stored VAE. Its encoder, which the loop never calls, may be missing."""
    sizes: dict[str, Any] = {name: value for name, value in stem.config["vae"].items() if name != "type"}
    levels = len(sizes["block_out_channels"])
    sizes |= {"down_block_types": ("DownEncoderBlock2D",) * levels, "up_block_types": ("UpDecoderBlock2D",) * levels}
    vae = AutoencoderKL(**sizes)
    weights = {name.removeprefix("vae."): weight for name, weight in stem.tensors.items() if name.startswith("vae.")}
    try:
        result = vae.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        raise GoldenError(f"the VAE's weights do not fit {stem.name}.json: {error}") from error
    missing = [name for name in result.missing_keys if not name.startswith(("encoder.", "quant_conv."))]
    if missing or result.unexpected_keys:
        raise GoldenError(f"VAE weights missing: {missing}; unexpected: {result.unexpected_keys}")
    return vae.eval()


def _timesteps(loop: Loop) -> Finding:
    ours = torch.tensor(loop.config.plan.timesteps(loop.config.schedule))
    return Finding("config.timesteps", largest_error(ours, torch.tensor(loop.stem.config["timesteps"])), 0.0)


def _draws(loop: Loop) -> Iterator[Finding]:
    """The published order of draws from the seed that the sidecar names."""
    generator = _generator(loop)
    for window in loop.windows():
        start, steps = _recorded(loop, window)
        drawn = draw_video(generator, tuple(start.shape), _CPU)
        yield Finding(f"draw.{window}.initial_noise", largest_error(drawn, start), 0.0)
        redrawn = [draw_frames_first(generator, tuple(start.shape), _CPU) for _ in steps]
        errors = [largest_error(ours, recorded) for ours, recorded in zip(redrawn, steps, strict=True)]
        yield Finding(f"draw.{window}.variance_noise", max(errors, default=0.0), 0.0)


def _generator(loop: Loop) -> torch.Generator:
    seed = re.search(r"manual_seed\((\d+)\)", loop.stem.config["generator"])
    if seed is None:
        raise GoldenError(f"{loop.stem.name}: the generator's seed is not named")
    return seeded(int(seed.group(1)))


def _recorded(loop: Loop, window: str) -> tuple[Tensor, list[Tensor]]:
    """Recorded initial noise and one draw per step, all [1, C, F, H, W]."""
    steps_SFCHW = loop.stem.given(f"draw.{window}.variance_noise")
    return loop.stem.given(f"draw.{window}.initial_noise"), [_video(step) for step in steps_SFCHW]


def _reference_windows(loop: Loop, tokens: Tensor) -> Iterator[Window]:
    """Windows of the reference network, decoded frame by frame as published."""
    network, past = ReferenceNetwork(loop.network), loop.first_past()
    halves = num_halves(loop.config.guidance_scale)
    text, tokens = loop.text_BLD[-halves:], tokens[-halves:]
    for name in loop.windows():
        conditioning = past

        def predict(batch: Tensor, timestep: int, conditioning: Tensor = conditioning) -> Tensor:
            return network.predict(batch, torch.tensor(timestep), text, tokens, conditioning)

        window = _sampled(loop, name, guided(predict, loop.config.guidance_scale))
        yield window
        past = _next_past(loop, window.frames_F3PR)


def _sampled(loop: Loop, name: str, denoise: Denoiser) -> Window:
    start, draws = _recorded(loop, name)
    seen: list[Tensor] = []
    predictions: list[Tensor] = []

    def recording(x: Tensor, timestep: int) -> Tensor:
        seen.append(x)
        predictions.append(denoise(x, timestep))
        return predictions[-1]

    noises = iter(draws)
    last = sample(loop.config.plan, recording, start, loop.config.schedule, lambda: next(noises), ignore_step)
    latents = torch.stack([_frames_first(x) for x in (*seen[1:], last)])
    frames = torch.cat([decode_frames(loop.vae, last[0, :, i : i + 1]) for i in range(last.shape[2])])
    return Window(torch.stack([_frames_first(p) for p in predictions]), latents, frames)


def _served_windows(loop: Loop) -> Iterator[Tensor]:
    """Last latents [F, C, H, W] of every window by the serving network."""
    generator, past = _generator(loop), loop.first_past()
    context = window_context(
        loop.network, loop.text_BLD[-num_halves(loop.config.guidance_scale) :], loop.encode_images, loop.anchor()
    )
    for name in loop.windows():
        start = loop.stem.given(f"draw.{name}.initial_noise")
        denoise = window_denoiser(loop.network, context, past, loop.config)
        latents = sample_latents(denoise, loop.config, tuple(start.shape), start.device, generator, ignore_step)
        yield _frames_first(latents)
        past = _next_past(loop, decode_frames(loop.vae, latents[0]))


def _next_past(loop: Loop, frames_F3PR: Tensor) -> Tensor:
    """The last decoded frames, in [-1, 1]."""
    return as_conditioning(frames_F3PR[-loop.stem.config["cond_frames"] :])


def _compare(stem: Stem, name: str, window: Window, served_FCHW: Tensor) -> Iterator[Finding]:
    """Findings of one window. Frames have the tolerance of its latents."""
    number = int(name.removeprefix("chunk"))
    # A window that the tolerance does not name has that of the last named one before it.
    subjects = [f"chunk {n}" for n in range(number, 0, -1)]
    yield stem.finding(f"out.{name}.guided_eps", window.guided_SFCHW, subjects)
    latents = stem.finding(f"out.{name}.latents_after_step", window.latents_SFCHW, subjects)
    served = largest_error(served_FCHW, stem.given(latents.tensor)[-1])
    yield Finding(latents.tensor, latents.error, latents.tolerance, served)
    yield stem.finding(f"out.{name}.mean_rgb_per_frame", window.frames_F3PR.mean(dim=(2, 3)), subjects)
    for tensor in sorted(stem.outputs()):
        if some := re.fullmatch(rf"out\.{name}\.frames(\d+)_(\d+)", tensor):
            first, last = map(int, some.groups())
            yield stem.finding(tensor, window.frames_F3PR[first : last + 1], subjects)


def _frames_first(latents_1CFHW: Tensor) -> Tensor:
    return latents_1CFHW[0].transpose(0, 1)


def _video(latents_FCHW: Tensor) -> Tensor:
    return latents_FCHW.transpose(0, 1).unsqueeze(0)
