"""Every network of the service at two levels, run on the device and on the CPU and compared.

The first check of a GPU that has run nothing yet. Part of benchmarks.cuda.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from benchmarks.cuda_rig import Rig
from benchmarks.figures import Figure
from benchmarks.networks import (
    Inputs,
    Size,
    random_base_unet,
    random_inputs,
    random_network,
    random_picture_encoder,
    random_refiner_unet,
    random_text_encoder,
    random_vae,
)
from benchmarks.steps import default_step
from core.model.networks.base_network import UntouchedBase
from core.model.sampling.vae import decode_frames, encode_frames

TIMESTEP = 500
NOT_FINITE = 1e9
"""Stands for a difference that is NaN or infinite."""
TARGETS = {torch.float32: 0.02, torch.bfloat16: 0.5}
"""Largest difference, in standard deviations of the CPU's values. GPUs convolve float32 as TF32 (10 of 24 bits)."""


@dataclass(frozen=True)
class Piece:
    """One network with inputs, all on the CPU in float32. `run` computes what is compared from inputs on the device."""

    name: str
    modules: Sequence[nn.Module]
    inputs: tuple[Tensor, ...]
    run: Callable[..., Tensor]
    dtypes: tuple[torch.dtype, ...] = (torch.float32,)


def smoke(rig: Rig) -> Iterator[Figure]:
    """One figure per network and dtype in which it is served."""
    for make in (window_network, base_unet, refiner_unet, autoencoder, text_encoder, picture_encoder):
        piece = make(rig.scale.smoke)
        expected = piece.run(*piece.inputs)
        for dtype in piece.dtypes:
            yield compare(piece, expected, on_device(rig, piece, dtype), dtype)


def on_device(rig: Rig, piece: Piece, dtype: torch.dtype) -> Tensor:
    """The piece's result on the rig's device, copied to the CPU."""
    for module in piece.modules:
        rig.place(module, dtype)
    moved = [each.to(rig.device, dtype if each.is_floating_point() else None) for each in piece.inputs]
    return piece.run(*moved).float().cpu()


def compare(piece: Piece, expected: Tensor, actual: Tensor, dtype: torch.dtype) -> Figure:
    """The largest difference, in standard deviations of `expected`."""
    name = f"smoke, {piece.name}, {str(dtype).removeprefix('torch.')}: largest difference from the CPU"
    differences = torch.nan_to_num((actual - expected).abs() / expected.std(), nan=NOT_FINITE, posinf=NOT_FINITE)
    worst = float(differences.max())
    note = "" if actual.isfinite().all() else "NOT FINITE"
    return Figure(name, float(f"{worst:.3g}"), "deviations", target=TARGETS[dtype], note=note)


def window_network(size: Size) -> Piece:
    """UNet, CAM and APM: one guided step of a window."""
    network, inputs = random_network(size), random_inputs(size)
    arguments = (inputs.latents_1CFHW, inputs.text_2LD, inputs.tokens_2KD, inputs.past_G3PR)

    def run(*moved: Tensor) -> Tensor:
        return default_step(network, Inputs(*moved))()

    return Piece("windows' network", list(network.parts.values()), arguments, run, (torch.float32, torch.bfloat16))


def base_unet(size: Size) -> Piece:
    """The untouched base UNet of first chunks."""
    return _unet("first chunk's network", random_base_unet(size), size)


def refiner_unet(size: Size) -> Piece:
    """MS-Vid2Vid-XL's layers with their odd resampling."""
    return _unet("refiner's network", random_refiner_unet(size), size)


def _unet(name: str, unet: Any, size: Size) -> Piece:
    network, inputs = UntouchedBase(unet), random_inputs(size)

    def run(latents_1CFHW: Tensor, text_2LD: Tensor) -> Tensor:
        with network.use_cache(network.precompute(text_2LD, None)):
            return network.predict(latents_1CFHW, torch.tensor(TIMESTEP, device=latents_1CFHW.device), text_2LD)

    arguments = (inputs.latents_1CFHW, inputs.text_2LD)
    return Piece(name, [unet], arguments, run, (torch.float32, torch.bfloat16))


def autoencoder(size: Size) -> Piece:
    """Two frames to pictures and back."""
    vae, latents_CFHW = random_vae(size), random_inputs(size).latents_1CFHW[0, :, :2]

    def run(latents: Tensor) -> Tensor:
        pictures = decode_frames(vae, latents)
        return torch.cat([pictures.flatten(), encode_frames(vae, pictures * 2 - 1).flatten()])

    return Piece("autoencoder", [vae], (latents_CFHW,), run)


def text_encoder(size: Size) -> Piece:
    """CLIP's, which stays in float32."""
    encoder = random_text_encoder(size)
    ids = torch.arange(2 * size.text_tokens).reshape(2, -1) % size.vocabulary

    def run(ids_BL: Tensor) -> Tensor:
        return cast(Tensor, encoder(input_ids=ids_BL).last_hidden_state)

    return Piece("text encoder", [encoder], (ids,), run)


def picture_encoder(size: Size) -> Piece:
    """CLIP's, which stays in float32."""
    encoder = random_picture_encoder(size)
    generator = torch.Generator().manual_seed(0)
    picture = torch.randn(1, 3, size.picture_size, size.picture_size, generator=generator)

    def run(picture_13PR: Tensor) -> Tensor:
        return cast(Tensor, encoder(pixel_values=picture_13PR).image_embeds)

    return Piece("picture encoder", [encoder], (picture,), run)
