"""Small random checkpoints in the formats of the published ones: same names, same containers, other sizes.

Knows the names only through core.model.convert.expected, which a test compares with the published list.
"""

from __future__ import annotations

import argparse
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from core.model.convert.expected import expected_streaming, ldm_vae_table, refiner_table
from core.model.convert.lazy_tensor import Shape
from core.model.convert.open_clip import TextSizes, VisualSizes, text_shapes, visual_shapes
from core.model.convert.sizes import StreamingSizes, unet_config, vae_config

SMALL_UNET = unet_config(widths=(8, 16, 16, 16), layers_per_block=1, text_width=12, head_width=8)
SMALL_VAE = vae_config(widths=(8, 8, 16, 16), layers_per_block=1)
SMALL_VISUAL = VisualSizes(width=32, inner_width=48, num_layers=2, patch_size=4, num_positions=17, embedding_width=20)
SMALL_STREAMING = StreamingSizes(
    unet=SMALL_UNET,
    vae=SMALL_VAE,
    text=TextSizes(width=12, inner_width=24, num_layers=2, num_positions=10, vocabulary=40),
    visual=SMALL_VISUAL,
    picture_channels=(4, 6, 8, 12),
    num_text_tokens=10,
    num_image_tokens=3,
    expander_width=14,
)
SMALL_TOWER = TextSizes(width=128, inner_width=96, num_layers=3, num_positions=9, vocabulary=30, embedding_width=20)


def random_weights(shapes: Mapping[str, Shape], seed: int = 0) -> dict[str, Tensor]:
    """Standard normal, scaled so that deep networks neither die nor explode."""
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator) * 0.2 for name, shape in shapes.items()}


def streaming_weights() -> dict[str, Tensor]:
    """Everything that a small `streaming_t2v.ckpt` has to have."""
    return random_weights(expected_streaming(SMALL_STREAMING).required)


def save_lightning(weights: dict[str, Tensor], path: Path, **beside: Any) -> Path:
    """As Lightning saves: weights under `state_dict`, optimizer moments and hyper-parameters beside them."""
    moments = {index: {"exp_avg": torch.ones_like(weight)} for index, weight in enumerate(list(weights.values())[:3])}
    content = {
        "epoch": 3,
        "state_dict": weights,
        "optimizer_states": [{"state": moments, "param_groups": [{"lr": 5e-5, "betas": (0.9, 0.999)}]}],
        "hyper_parameters": argparse.Namespace(trainer="none"),
        **beside,
    }
    torch.save(content, path)
    return path


def save_refiner(folder: Path) -> tuple[Path, Path, Path]:
    """The refiner's three files: plain weights, an OpenCLIP model, a Stable Diffusion checkpoint."""
    unet, text, vae = folder / "non_ema.pth", folder / "open_clip.bin", folder / "sd.ckpt"
    torch.save(random_weights({name: entry.shape_in_file for name, entry in refiner_table(SMALL_UNET).items()}), unet)
    visual = {f"visual.{name}": shape for name, shape in visual_shapes(SMALL_VISUAL).items()}
    torch.save(random_weights({**text_shapes(SMALL_TOWER), **visual}), text)
    save_lightning(
        {
            **random_weights({f"first_stage_model.{name}": shape for name, shape in ldm_vae_shapes().items()}),
            "model.diffusion_model.out.2.bias": torch.ones(4),
        },
        vae,
    )
    return unet, text, vae


def ldm_vae_shapes() -> dict[str, Shape]:
    """A small latent-diffusion autoencoder, without `first_stage_model.`."""
    return {name: entry.shape_in_file for name, entry in ldm_vae_table(SMALL_VAE).items()}


def write_torch_zip(path: Path, pickled: bytes, records: Mapping[str, bytes] | None = None) -> Path:
    """A torch file with any pickle in it."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        for name, data in (records or {}).items():
            archive.writestr(f"archive/{name}", data)
    return path
