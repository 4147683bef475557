"""A whole preset folder with random weights at toy size: the service and the loader can be tried without training.

Its videos are noise. Knows the layout that core.model.presets loads; `python -m tests.helpers.random_preset FOLDER`.
"""

import json
import sys
from pathlib import Path
from typing import Any, cast

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_3d_condition import UNet3DConditionModel
from safetensors.torch import save_file
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordLevel
from torch import nn
from transformers import CLIPTextConfig, CLIPVisionConfig
from transformers.models.clip.modeling_clip import CLIPTextModel, CLIPVisionModelWithProjection

from core.model.engines.streaming_t2v.apm import ApmMixers, TokenExpander
from core.model.engines.streaming_t2v.cam import CamFeatureExtractor, CamMergers

TEXT_TOKENS = 24
TEXT_WIDTH = 32
IMAGE_TOKENS = 4
EMBEDDING_WIDTH = 16
INNER_WIDTH = 16
PICTURE_CHANNELS = (4, 8, 8, 8)
WORDS = (
    "a",
    "and",
    "background",
    "blue",
    "circle",
    "down",
    "dotted",
    "green",
    "left",
    "moving",
    "over",
    "plain",
    "red",
    "right",
    "square",
    "striped",
    "the",
    "up",
)


def write_random_preset(folder: Path, *, seed: int = 0, size: int = 64, num_inference_steps: int = 4) -> Path:
    """Write a loadable preset into `folder` (about 3 MB) and return it. The same seed gives the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet = _unet()
        _save(folder / "unet", unet, dict(cast(Any, unet.config)))
        vae = _vae()
        _save(folder / "vae", vae, dict(cast(Any, vae.config)))
        text = CLIPTextModel(CLIPTextConfig(**_text_sizes()))
        _save(folder / "text_encoder", text, text.config.to_dict())
        pictures = CLIPVisionModelWithProjection(CLIPVisionConfig(**_vision_sizes()))
        _save(folder / "image_encoder", pictures, pictures.config.to_dict())
        _save_memory(folder, unet)
        refiner = _unet()
        _save(folder / "refiner" / "unet", refiner, dict(cast(Any, refiner.config)))
    tokenizer_folder = folder / "tokenizer"
    tokenizer_folder.mkdir(parents=True, exist_ok=True)
    word_tokenizer().save(str(tokenizer_folder / "tokenizer.json"))
    _write_json(folder / "preset.json", _preset_json(folder.name, size, num_inference_steps))
    return folder


def _save_memory(folder: Path, unet: UNet3DConditionModel) -> None:
    """cam/ and conditioning/, with nothing left at zero so that both act."""
    config = dict(cast(Any, unet.config))
    parts = nn.ModuleDict(
        {
            "mergers": CamMergers.for_unet(config),
            "mixers": ApmMixers.for_unet(unet, TEXT_TOKENS, IMAGE_TOKENS),
            "expander": TokenExpander(EMBEDDING_WIDTH, INNER_WIDTH, IMAGE_TOKENS, TEXT_WIDTH),
        }
    )
    cam = CamFeatureExtractor.from_unet(unet, PICTURE_CHANNELS)
    for part in (cam.picture_encoder, parts):
        _unzero(part)
    _save(folder / "cam", cam, {"picture_channels": list(PICTURE_CHANNELS), "num_conditioning_frames": 8})
    sizes = {
        "num_text_tokens": TEXT_TOKENS,
        "num_image_tokens": IMAGE_TOKENS,
        "embedding_width": EMBEDDING_WIDTH,
        "inner_width": INNER_WIDTH,
    }
    _save(folder / "conditioning", parts, sizes)


def _unet() -> UNet3DConditionModel:
    return UNet3DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16, 16, 16),
        layers_per_block=1,
        attention_head_dim=8,
        cross_attention_dim=TEXT_WIDTH,
        norm_num_groups=4,
    )


def _vae() -> AutoencoderKL:
    sizes: dict[str, Any] = {  # diffusers annotates these tuples as having one element
        "block_out_channels": (4, 8, 8, 8),
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
    }
    return AutoencoderKL(**sizes)


def _text_sizes() -> dict[str, Any]:
    return {
        "vocab_size": len(WORDS) + 4,
        "hidden_size": TEXT_WIDTH,
        "intermediate_size": TEXT_WIDTH,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "max_position_embeddings": TEXT_TOKENS,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }


def _vision_sizes() -> dict[str, Any]:
    return {
        "hidden_size": 16,
        "intermediate_size": 16,
        "projection_dim": EMBEDDING_WIDTH,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 8,
    }


def word_tokenizer() -> Tokenizer:
    """Whole words, lower-cased; unknown ones are [UNK]."""
    vocabulary = {word: index for index, word in enumerate(["[PAD]", "[BOS]", "[EOS]", "[UNK]", *WORDS])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    seams = cast(Any, tokenizer)  # its setters are untyped
    seams.normalizer = normalizers.Lowercase()
    seams.pre_tokenizer = pre_tokenizers.Whitespace()
    seams.post_processor = processors.TemplateProcessing(
        single="[BOS] $A [EOS]", special_tokens=[("[BOS]", 1), ("[EOS]", 2)]
    )
    return tokenizer


def _preset_json(name: str, size: int, num_inference_steps: int) -> dict[str, Any]:
    sampling = {"num_inference_steps": num_inference_steps, "guidance_scale": 3.0, "eta": 1.0, "sampler": "ddim"}
    return {
        "name": name,
        "description": "Random weights at toy size; its videos are noise.",
        "engine": "streaming_t2v",
        "height": size,
        "width": size,
        "fps": 8,
        "max_prompt_tokens": TEXT_TOKENS - 2,
        "negative_prompt": "",
        "profiles": {
            "fast": {
                "windows": sampling,
                "first_chunk": {**sampling, "sampler": "dpm_solver_pp"},
                "gpu_dtype": "bfloat16",
            },
            "reference": {
                "windows": {**sampling, "num_inference_steps": num_inference_steps + 1},
                "first_chunk": sampling,
                "gpu_dtype": "float32",
            },
        },
        "scheduler": {
            "num_train_timesteps": 1000,
            "beta_schedule": "scaled_linear",
            "beta_start": 0.00085,
            "beta_end": 0.012,
            "prediction_type": "v_prediction",
            "rescale_betas_zero_snr": True,
            "timestep_spacing": "trailing",
            "set_alpha_to_one": True,
            "steps_offset": 0,
        },
        "refiner": {
            "height": 2 * size,
            "width": 2 * size,
            "max_side": 4 * size,
            "strength": 0.6,
            "num_inference_steps": num_inference_steps,
            "guidance_scale": 2.0,
            "guidance_rescale": 0.2,
            "resampling": "vid2vid",
            "gpu_dtype": "bfloat16",
        },
        "example_prompts": ["a red circle moving left over a striped background"],
    }


def _unzero(part: nn.Module) -> None:
    """Random values where a fresh module has zeros."""
    with torch.no_grad():
        for weight in part.parameters():
            if not weight.any():
                weight.normal_(std=0.1)


def _save(folder: Path, model: nn.Module, config: dict[str, Any]) -> None:
    """config.json and half-precision weights."""
    folder.mkdir(parents=True, exist_ok=True)
    _write_json(folder / "config.json", config)
    weights = {
        name: (weight.half() if weight.is_floating_point() else weight).contiguous()
        for name, weight in model.state_dict().items()
    }
    save_file(weights, folder / "model.safetensors")


def _write_json(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2, default=str) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_random_preset(Path(sys.argv[1]))
