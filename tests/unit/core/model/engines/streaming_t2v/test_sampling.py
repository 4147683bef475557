"""Two autoregressive windows against the reference's own loop: draws, predictions, latents, frames."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from core.model.engines.streaming_t2v.network import StreamingNetwork
from core.model.engines.streaming_t2v.sampling import (
    SamplingConfig,
    VideoContext,
    anchor_tokens,
    as_conditioning,
    decode_new_frames,
    sample_latents,
    window_context,
    window_denoiser,
)
from core.model.networks.picture_preprocessing import preprocess_picture
from core.model.sampling.noise import draw_frames_first, draw_video, seeded
from core.model.sampling.samplers import Denoiser, SamplingPlan, sample
from core.model.sampling.schedules import schedule_from_config
from core.model.sampling.vae import decode_frames
from core.service.domain.engine import ignore_step

SHAPE = (1, 4, 16, 8, 8)
# The serving network on any processor (tests/references/README.md); latents deviate by 6.6.
PREDICTION_TOLERANCE = 6e-3
LATENT_TOLERANCE = 1e-2
CPU = torch.device("cpu")


@pytest.fixture(scope="module", autouse=True)
def _inference() -> Iterator[None]:  # pyright: ignore[reportUnusedFunction] - pytest calls it
    with torch.inference_mode():
        yield


@dataclass(frozen=True)
class Golden:
    """The stored loop: constants, tensors, and what stands in for the image encoder."""

    config: dict[str, Any]
    tensors: dict[str, Tensor]

    def encode_images(self, pictures_B3PR: Tensor) -> Tensor:
        """The stand-in visual tower of the sidecar: 4x4 average pool and one linear layer."""
        pooled = functional.adaptive_avg_pool2d(preprocess_picture(pictures_B3PR, 224), 4).flatten(1)
        prefix = "image_encoder.model.visual.proj."
        return functional.linear(pooled, self.tensors[prefix + "weight"], self.tensors[prefix + "bias"])

    def sampling(self) -> SamplingConfig:
        """Sampling as the sidecar says."""
        scheduler = {**self.config["scheduler"], "prediction_type": self.config["scheduler"]["prediction"]}
        plan = SamplingPlan("ddim", self.config["steps"], eta=self.config["eta"], offset=scheduler["steps_offset"])
        return SamplingConfig(plan, schedule_from_config(scheduler), self.config["guidance_scale"])

    def past(self) -> Tensor:
        """Conditioning frames of the first window, [8, 3, 64, 64] in [-1, 1]."""
        return as_conditioning(self.tensors["in.init_chunk_frames8_15"])


@pytest.fixture(scope="module")
def golden(references: Path) -> Golden:
    """The stored loop."""
    config = json.loads((references / "chunk_loop.json").read_text())["config"]
    return Golden(config, load_file(references / "chunk_loop.safetensors"))


@pytest.fixture(scope="module")
def vae(golden: Golden) -> AutoencoderKL:
    """The stored tiny decoder; the loop never encodes."""
    sizes: dict[str, Any] = golden.config["vae"]
    levels = len(sizes["block_out_channels"])
    sizes = {name: value for name, value in sizes.items() if name != "type"}
    sizes["down_block_types"] = ("DownEncoderBlock2D",) * levels
    sizes["up_block_types"] = ("UpDecoderBlock2D",) * levels
    vae = AutoencoderKL(**sizes)
    weights = {name.removeprefix("vae."): w for name, w in golden.tensors.items() if name.startswith("vae.")}
    result = vae.load_state_dict(weights, strict=False)
    assert result.unexpected_keys == []
    assert all(name.startswith(("encoder.", "quant_conv.")) for name in result.missing_keys)
    return vae.eval()


@pytest.fixture
def context(golden: Golden, golden_network: StreamingNetwork, golden_io: dict[str, Tensor]) -> VideoContext:
    """Text and anchor of the stored video."""
    anchor = as_conditioning(golden.tensors["in.init_chunk_frame0"])
    return window_context(golden_network, golden_io["in.text_states"], golden.encode_images, anchor)


def frames_first(latents_1CFHW: Tensor) -> Tensor:
    """[1, C, F, H, W] -> [F, C, H, W], as the reference stores them."""
    return latents_1CFHW[0].transpose(0, 1)


def test_seed_33_gives_the_published_draws(golden: Golden) -> None:
    generator = seeded(33)
    for window in ("chunk1", "chunk2"):
        assert torch.equal(draw_video(generator, SHAPE, CPU), golden.tensors[f"draw.{window}.initial_noise"])
        for stored in golden.tensors[f"draw.{window}.variance_noise"]:
            assert torch.equal(frames_first(draw_frames_first(generator, SHAPE, CPU)), stored)


def test_timesteps_are_the_published_ones(golden: Golden) -> None:
    config = golden.sampling()

    assert list(config.plan.timesteps(config.schedule)) == golden.config["timesteps"]


def test_anchor_and_grey_picture_become_the_reference_tokens(golden: Golden, golden_network: StreamingNetwork) -> None:
    anchor = as_conditioning(golden.tensors["in.init_chunk_frame0"])

    tokens = anchor_tokens(golden_network, golden.encode_images, anchor, num_halves=2)

    torch.testing.assert_close(tokens, golden.tensors["out.image_tokens_uncond_cond"], atol=1e-5, rtol=0)
    alone = anchor_tokens(golden_network, golden.encode_images, anchor, num_halves=1)
    torch.testing.assert_close(alone, tokens[1:], atol=1e-5, rtol=0)


def test_stored_predictions_lead_to_the_stored_latents(golden: Golden) -> None:
    predictions = iter(golden.tensors["out.chunk1.guided_eps"])

    def replay(x: Tensor, timestep: int) -> Tensor:
        del x, timestep
        return next(predictions).transpose(0, 1).unsqueeze(0)

    latents = run(replay, golden.sampling(), seeded(33))

    torch.testing.assert_close(
        frames_first(latents), golden.tensors["out.chunk1.latents_after_step"][-1], atol=1e-5, rtol=0
    )


def test_every_step_of_a_window_matches_the_reference(
    golden: Golden, golden_network: StreamingNetwork, context: VideoContext
) -> None:
    config, generator = golden.sampling(), seeded(33)
    denoise = window_denoiser(golden_network, context, golden.past(), config)
    seen: list[Tensor] = []
    guided_predictions: list[Tensor] = []

    def recording(x: Tensor, timestep: int) -> Tensor:
        seen.append(frames_first(x))
        guided_predictions.append(denoise(x, timestep))
        return guided_predictions[-1]

    last = run(recording, config, generator)

    latents = torch.stack([*seen[1:], frames_first(last)])
    predictions = torch.stack([frames_first(p) for p in guided_predictions])
    torch.testing.assert_close(predictions, golden.tensors["out.chunk1.guided_eps"], atol=PREDICTION_TOLERANCE, rtol=0)
    torch.testing.assert_close(latents, golden.tensors["out.chunk1.latents_after_step"], atol=LATENT_TOLERANCE, rtol=0)


def run(denoise: Denoiser, config: SamplingConfig, generator: torch.Generator) -> Tensor:
    """Sample a window's latents with any denoiser, draws as published."""
    start = draw_video(generator, SHAPE, CPU)
    return sample(
        config.plan,
        denoise,
        start,
        config.schedule,
        lambda: draw_frames_first(generator, SHAPE, CPU),
        ignore_step,
    )


def test_two_windows_in_a_row_match_the_reference(
    golden: Golden, golden_network: StreamingNetwork, context: VideoContext, vae: AutoencoderKL
) -> None:
    config, generator, past = golden.sampling(), seeded(33), golden.past()

    for window, latent_tolerance, pixel_tolerance in (("chunk1", LATENT_TOLERANCE, 3e-4), ("chunk2", 5e-2, 1e-3)):
        denoise = window_denoiser(golden_network, context, past, config)
        latents = sample_latents(denoise, config, SHAPE, CPU, generator, ignore_step)
        new = decode_new_frames(vae, latents, 8)
        past = as_conditioning(new)

        stored = golden.tensors[f"out.{window}.latents_after_step"][-1]
        torch.testing.assert_close(frames_first(latents), stored, atol=latent_tolerance, rtol=0)
        torch.testing.assert_close(new[4:], golden.tensors[f"out.{window}.frames12_15"], atol=pixel_tolerance, rtol=0)
        means = decode_frames(vae, latents[0]).mean(dim=(2, 3))
        torch.testing.assert_close(
            means, golden.tensors[f"out.{window}.mean_rgb_per_frame"], atol=pixel_tolerance, rtol=0
        )


def test_preprocessing_matches_the_reference(references: Path) -> None:
    stored = load_file(references / "apm_preprocess.safetensors")
    rows = torch.arange(256, dtype=torch.float64).view(1, 256, 1)
    columns = rows.view(1, 1, 256)
    channels = torch.arange(3, dtype=torch.float64).view(3, 1, 1)
    picture = torch.sin(0.05 * rows * (channels + 1) + 0.3 * channels) * torch.cos(0.07 * columns * (channels + 2))

    prepared = preprocess_picture(picture.float().unsqueeze(0), 224)[0]
    grey = preprocess_picture(torch.zeros(1, 3, 256, 256), 224)[0]

    torch.testing.assert_close(prepared[:, ::4, ::4], stored["out.preprocessed_stride4"], atol=1e-5, rtol=0)
    torch.testing.assert_close(grey.amax(dim=(1, 2)), stored["out.zero_image_rgb"], atol=1e-5, rtol=0)
