"""preset.json of `sprites`: the values that training determines, and the sampling config."""

from __future__ import annotations

from typing import Any

from core.model.training.sprites import world
from core.model.training.sprites.word_tokenizer import MAX_TOKENS
from core.model.training.stages import diffusion
from core.model.training.stages.refiner import SIDE

EXAMPLE_PROMPTS = (
    "a red circle moving left over a striped background",
    "a blue square moving up over a checkered background",
    "a green triangle moving right over a dotted background",
    "a yellow circle moving down over a plain background",
)


def preset_config() -> dict[str, Any]:
    """The content of preset.json, without refiner."""
    return {
        "name": "sprites",
        "description": "A tiny model of a synthetic world: one or two coloured shapes moving over a pattern.",
        "engine": "streaming_t2v",
        "height": world.SIZE,
        "width": world.SIZE,
        "fps": world.FPS,
        # The begin and end tokens take two of the encoder's positions.
        "max_prompt_tokens": MAX_TOKENS - 2,
        "negative_prompt": "",
        "profiles": {
            "fast": {
                # Few steps on purpose: more of them keep no more and cost more (docs/training-log.md, 2026-11-30).
                "windows": {"num_inference_steps": 3, "guidance_scale": 2.0, "eta": 0.0, "sampler": "ddim"},
                "first_chunk": {"num_inference_steps": 6, "guidance_scale": 3.0, "eta": 0.0, "sampler": "ddim"},
                "gpu_dtype": "bfloat16",
            },
            "reference": {
                "windows": {"num_inference_steps": 50, "guidance_scale": 2.0, "eta": 1.0, "sampler": "ddim"},
                "first_chunk": {"num_inference_steps": 50, "guidance_scale": 3.0, "eta": 0.0, "sampler": "ddim"},
                "gpu_dtype": "float32",
            },
        },
        "scheduler": scheduler_config(),
        "example_prompts": list(EXAMPLE_PROMPTS),
    }


def refiner_config() -> dict[str, Any]:
    """The `refiner` section of preset.json; text encoder and tokenizer are the preset's own."""
    return {
        "height": SIDE,
        "width": SIDE,
        "max_side": SIDE,
        # Outlines get sharper and nothing new is invented; trained up to stages.refiner.STRENGTH.
        "strength": 0.1,
        "num_inference_steps": 4,
        "guidance_scale": 1.0,
        "guidance_rescale": 0.2,
        "resampling": "plain",
        "gpu_dtype": "bfloat16",
    }


def scheduler_config() -> dict[str, Any]:
    """The noise schedule of training, with diffusers' key names."""
    return {
        "num_train_timesteps": diffusion.TRAIN_STEPS,
        "beta_schedule": "scaled_linear",
        "beta_start": diffusion.BETA_START,
        "beta_end": diffusion.BETA_END,
        "prediction_type": "v_prediction",
        "rescale_betas_zero_snr": True,
        "timestep_spacing": "trailing",
        "set_alpha_to_one": True,
        "steps_offset": 0,
    }
