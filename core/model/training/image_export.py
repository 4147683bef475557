"""Export the presets of an image recipe: `sprites-zero` (image UNet, ControlNet) and `sprites-edit` (editor).

Both lie in the layout of diffusers' pipelines; what they lack, they share with the preset they were trained on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from diffusers.schedulers.scheduling_ddim import DDIMScheduler

from core.model.training.image_models import ImageModels
from core.model.training.loop import parallel
from core.model.training.preset_files import save_library_model, save_tokenizer, write_json
from core.model.training.sprites import world
from core.model.training.sprites.word_tokenizer import MAX_TOKENS
from core.model.training.sprites_preset import scheduler_config

ZERO, EDIT = "sprites-zero", "sprites-edit"
CONTROLNET = Path("controlnet") / "canny"


def export_image_presets(models: ImageModels, folder: Path) -> list[str]:
    """Write the presets whose stages are trained to subfolders of `folder`; returns their names.

    Existing files are replaced. Only the first process writes.
    """
    written: list[str] = []
    if parallel.rank() != 0:
        return written
    if models.has_trained("image2d") and models.has_trained("controlnet"):
        save_library_model(models.unet, folder / ZERO / "unet")
        save_library_model(models.controlnet, folder / ZERO / CONTROLNET)
        _save_common(folder / ZERO, zero_config(models.shared))
        written.append(ZERO)
    if models.has_trained("editor"):
        unet, text_encoder = models.editor
        save_library_model(unet, folder / EDIT / "unet")
        save_library_model(text_encoder, folder / EDIT / "text_encoder")
        save_tokenizer(models.edit_tokenizer, folder / EDIT / "tokenizer")
        _save_common(folder / EDIT, edit_config(models.shared))
        written.append(EDIT)
    return written


def _save_common(folder: Path, config: dict[str, Any]) -> None:
    scheduler = cast("Any", DDIMScheduler.from_config({**scheduler_config(), "clip_sample": False}))
    scheduler.save_pretrained(folder / "scheduler")
    write_json(folder / "preset.json", config)


def zero_config(shared: str) -> dict[str, Any]:
    """The content of preset.json of `sprites-zero`."""
    return {
        "name": ZERO,
        "description": "A tiny image model of a synthetic world, animated without training; its control is edges.",
        "engine": "text2video_zero",
        **_common(shared, "https://arxiv.org/abs/2303.13439"),
        # Trained at 64x64: on larger pictures it draws objects that nobody asked for.
        "size": {"multiple_of": 8, "min_side": world.SIZE, "max_side": 96, "max_pixels": 96 * world.SIZE},
        "control": ["canny"],
        "num_inference_steps": 12,
        "guidance_scale": 2.0,
        # From 8x8 latents as noisy as published, every frame would be a new picture.
        "parameters": {"motion_x": -12.0, "motion_y": 0.0, "motion_interpolation": "bilinear", "t0": 0.2, "t1": 0.3},
        # The first ones fit the example clip's edges.
        "example_prompts": [
            "a blue square on a dotted background",
            "a yellow square on a dotted background",
            "a red circle on a plain background",
            "a green triangle on a checkered background",
        ],
    }


def edit_config(shared: str) -> dict[str, Any]:
    """The content of preset.json of `sprites-edit`."""
    return {
        "name": EDIT,
        "description": "A tiny editor of a synthetic world: it gives the shapes of a video other colours.",
        "engine": "instruct_pix2pix",
        **_common(shared, "https://arxiv.org/abs/2211.09800"),
        "num_inference_steps": 8,
        "guidance_scale": 1.5,
        "parameters": {"image_guidance_scale": 1.0},
        "example_prompts": ["make it blue", "turn the square yellow", "change the red circle to green"],
    }


def _common(shared: str, source: str) -> dict[str, Any]:
    return {
        "shares": shared,
        "height": world.SIZE,
        "width": world.SIZE,
        "fps": world.FPS,
        # The begin and end tokens take two of the encoder's positions.
        "max_prompt_tokens": MAX_TOKENS - 2,
        "negative_prompt": "",
        "gpu_dtype": "float32",
        "card": {
            "source": source,
            "licence": "with Longtake",
            "disk_gb": 0.01,
            "notes": "Draws only its synthetic world: coloured shapes over patterns.",
        },
    }
