"""Small random models in the formats of the real repositories, and a preset that downloads them.

The checkpoint is a Lightning file with the official key names, the base a diffusers repository in half precision, the
refiner three files of its own kinds.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from core.model.convert.expected import expected_streaming, ldm_vae_table, refiner_table, unet_without_weights
from core.model.convert.open_clip import TextSizes, VisualSizes, text_shapes
from core.model.convert.sizes import StreamingSizes, unet_config, vae_config
from core.service.settings import SHIPPED_PRESETS_DIR
from tests.helpers.checkpoints import random_weights

LETTERS = [chr(code) for code in range(ord("a"), ord("z") + 1)]
MERGES = ["r e", "re d</w>", "c a", "ca t</w>"]
VOCABULARY = [
    "!",
    *LETTERS,
    *(f"{letter}</w>" for letter in LETTERS),
    *("re", "red</w>", "ca", "cat</w>", ",</w>", ","),
    *("<|startoftext|>", "<|endoftext|>"),
]
NUM_TOKENS = 12
WIDTH = 64
SIZES = StreamingSizes(
    unet=unet_config(widths=(8, 16, 16, 16), layers_per_block=1, text_width=WIDTH, head_width=8),
    vae=vae_config(widths=(4, 8, 8, 8), layers_per_block=1),
    text=TextSizes(
        width=WIDTH,
        inner_width=WIDTH,
        num_layers=1,
        num_positions=NUM_TOKENS,
        vocabulary=len(VOCABULARY),
        embedding_width=WIDTH,
    ),
    visual=VisualSizes(width=80, inner_width=80, num_layers=1, patch_size=14, num_positions=5, embedding_width=WIDTH),
    picture_channels=(4, 8, 8, 8),
    num_text_tokens=NUM_TOKENS,
    num_image_tokens=4,
    expander_width=16,
)


def write_checkpoint_repository(folder: Path, *, seed: int = 0) -> Path:
    """streaming_t2v.ckpt as Lightning writes it, optimizer state included."""
    generator = torch.Generator().manual_seed(seed)
    shapes = expected_streaming(SIZES).required
    weights = {name: torch.randn(shape, generator=generator) * 0.1 for name, shape in shapes.items()}
    folder.mkdir(parents=True, exist_ok=True)
    optimizer = [{"state": {0: {"exp_avg": torch.zeros(10)}}, "param_groups": [{"lr": 5e-5}]}]
    torch.save({"epoch": 3, "state_dict": weights, "optimizer_states": optimizer}, folder / "streaming_t2v.ckpt")
    return folder


def write_base_repository(folder: Path) -> Path:
    """UNet and tokenizer, with files beside them that nobody asks for."""
    (folder / "unet").mkdir(parents=True)
    (folder / "tokenizer").mkdir()
    generator = torch.Generator().manual_seed(1)
    weights = {
        name: (torch.randn(weight.shape, generator=generator) * 0.1).half()
        for name, weight in unet_without_weights(SIZES.unet).state_dict().items()
    }
    save_file(weights, folder / "unet" / "diffusion_pytorch_model.fp16.safetensors")
    (folder / "unet" / "config.json").write_text(json.dumps(SIZES.unet))
    (folder / "tokenizer" / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(VOCABULARY)}))
    (folder / "tokenizer" / "merges.txt").write_text("#version: 0.2\n" + "\n".join(MERGES) + "\n")
    (folder / "README.md").write_text("a model card\n")
    return folder


def write_refiner_repository(folder: Path) -> Path:
    """UNet, OpenCLIP's text tower with one layer more than is used, autoencoder; fit for the base's tokenizer."""
    tower = text_shapes(replace(SIZES.text, num_layers=2))
    shapes = {
        "non_ema_0035000.pth": {name: entry.shape_in_file for name, entry in refiner_table(SIZES.unet).items()},
        "open_clip_pytorch_model.bin": tower,
        "v2-1_512-ema-pruned.ckpt": {
            f"first_stage_model.{name}": entry.shape_in_file for name, entry in ldm_vae_table(SIZES.vae).items()
        },
    }
    folder.mkdir(parents=True)
    for name, of_file in shapes.items():
        torch.save(random_weights(of_file), folder / name)
    return folder


def write_downloaded_preset(presets_dir: Path, name: str = "modelscope") -> Path:
    """The shipped `modelscope` preset at the sizes of these repositories, with few steps; all revisions are main."""
    content: dict[str, Any] = json.loads((SHIPPED_PRESETS_DIR / "modelscope" / "preset.json").read_text())
    content.update(name=name, height=32, width=32, max_prompt_tokens=NUM_TOKENS - 2)
    content["download"]["base"]["revision"] = "main"
    content["refiner"].update(height=64, width=64, max_side=128, num_inference_steps=2)
    for profile in content["profiles"].values():
        for part in ("windows", "first_chunk"):
            profile[part]["num_inference_steps"] = 2
    folder = presets_dir / name
    folder.mkdir(parents=True)
    (folder / "preset.json").write_text(json.dumps(content))
    return folder
