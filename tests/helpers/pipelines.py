"""Small diffusers pipelines with random weights, saved in the layout of the Hub's repositories.

Knows no source: which repository takes which role is the tests' business.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.autoencoder_kl_temporal_decoder import AutoencoderKLTemporalDecoder
from diffusers.models.controlnets.controlnet_sparsectrl import SparseControlNetModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.models.unets.unet_3d_condition import UNet3DConditionModel
from diffusers.models.unets.unet_i2vgen_xl import I2VGenXLUNet
from diffusers.models.unets.unet_motion_model import MotionAdapter
from diffusers.models.unets.unet_spatio_temporal_condition import UNetSpatioTemporalConditionModel
from diffusers.pipelines.deprecated.i2vgen_xl.pipeline_i2vgen_xl import I2VGenXLPipeline
from diffusers.pipelines.deprecated.text_to_video_synthesis.pipeline_text_to_video_synth import TextToVideoSDPipeline
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import StableDiffusionXLPipeline
from diffusers.pipelines.stable_video_diffusion.pipeline_stable_video_diffusion import StableVideoDiffusionPipeline
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
from transformers import CLIPTextConfig, CLIPTokenizer, CLIPVisionConfig
from transformers.models.clip.image_processing_clip import CLIPImageProcessor
from transformers.models.clip.modeling_clip import (
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPVisionModelWithProjection,
)

# Their constructors are annotated more narrowly than they are: configurations of other sizes, parts left out.
new_autoencoder, new_unet_2d = cast(Any, AutoencoderKL), cast(Any, UNet2DConditionModel)
new_text_config, new_vision_config = cast(Any, CLIPTextConfig), cast(Any, CLIPVisionConfig)
new_stable_diffusion, new_sdxl = cast(Any, StableDiffusionPipeline), cast(Any, StableDiffusionXLPipeline)
new_temporal_autoencoder = cast(Any, AutoencoderKLTemporalDecoder)

WIDTH = 8
"""Of text and of the narrowest layers."""


def seeded(build: Callable[[Path], None]) -> Callable[[Path], Path]:
    """The same folder content at every call, whatever was drawn before."""

    def write(folder: Path) -> Path:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            build(folder)
        return folder

    return write


def tokenizer() -> Any:
    """CLIP's byte pairs without any merge: every letter is a token."""
    start, end = "<|startoftext|>", "<|endoftext|>"
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    tokens = [*letters, *(letter + "</w>" for letter in letters), start, end]
    return CLIPTokenizer(vocab={token: index for index, token in enumerate(tokens)}, merges=[], model_max_length=24)


def text_encoder(kind: Any = CLIPTextModel) -> Any:
    sizes = {"hidden_size": WIDTH, "intermediate_size": WIDTH, "num_hidden_layers": 1, "num_attention_heads": 2}
    ends = {"pad_token_id": 0, "bos_token_id": 52, "eos_token_id": 53}
    config = new_text_config(vocab_size=54, max_position_embeddings=24, projection_dim=WIDTH, **sizes, **ends)
    return kind(config).eval()


def image_encoder() -> Any:
    sizes = {"hidden_size": WIDTH, "intermediate_size": WIDTH, "num_hidden_layers": 1, "num_attention_heads": 2}
    return CLIPVisionModelWithProjection(
        new_vision_config(image_size=224, patch_size=112, projection_dim=WIDTH, **sizes)
    ).eval()


def autoencoder() -> Any:
    return new_autoencoder(
        **_autoencoder_sizes((4, 8)), up_block_types=("UpDecoderBlock2D",) * 2, norm_num_groups=2
    ).eval()


def temporal_autoencoder() -> Any:
    return new_temporal_autoencoder(**_autoencoder_sizes((32, 32))).eval()


def _autoencoder_sizes(widths: tuple[int, int]) -> dict[str, Any]:
    return {"block_out_channels": widths, "down_block_types": ("DownEncoderBlock2D",) * 2, "layers_per_block": 1}


def scheduler() -> Any:
    """Stable Diffusion's."""
    return DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1, clip_sample=False
    )


def unet_2d(**more: Any) -> Any:
    sizes = {"sample_size": 8, "block_out_channels": (8, 8), "layers_per_block": 1, "norm_num_groups": 2}
    blocks = {
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    }
    return new_unet_2d(**{**sizes, **blocks, "cross_attention_dim": WIDTH, "attention_head_dim": 4, **more})


@seeded
def write_stable_diffusion(folder: Path) -> None:
    """What AnimateDiff puts its motion into."""
    new_stable_diffusion(
        autoencoder(), text_encoder(), tokenizer(), unet_2d(), scheduler(), None, None, requires_safety_checker=False
    ).save_pretrained(folder)


@seeded
def write_motion_adapter(folder: Path) -> None:
    adapter = MotionAdapter(
        block_out_channels=(8, 8), motion_layers_per_block=1, motion_norm_num_groups=2, motion_num_attention_heads=2
    )
    unzero(adapter)  # a fresh adapter does not move anything
    adapter.save_pretrained(folder)


@seeded
def write_sparse_control_net(folder: Path) -> None:
    """SparseCtrl for pictures, beside the tiny Stable Diffusion."""
    control = SparseControlNetModel(
        block_out_channels=(8, 8),
        down_block_types=("CrossAttnDownBlockMotion", "DownBlockMotion"),
        layers_per_block=1,
        norm_num_groups=2,
        cross_attention_dim=WIDTH,
        attention_head_dim=4,
        motion_num_attention_heads=2,
    )
    unzero(control)  # a fresh one controls nothing
    control.save_pretrained(folder)


def unzero(network: torch.nn.Module) -> None:
    """Random values where fresh weights are 0, which switches what they belong to off."""
    with torch.no_grad():
        for weight in network.parameters():
            if not weight.any():
                weight.normal_(std=0.2)


@seeded
def write_text_to_video(folder: Path) -> None:
    """The architecture of ms-1.7b, as its pipeline."""
    unet = UNet3DConditionModel(
        sample_size=8,
        block_out_channels=(8, 8),
        down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
        up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
        layers_per_block=1,
        norm_num_groups=2,
        cross_attention_dim=WIDTH,
        attention_head_dim=4,
    )
    TextToVideoSDPipeline(autoencoder(), text_encoder(), tokenizer(), unet, scheduler()).save_pretrained(folder)


@seeded
def write_svd(folder: Path) -> None:
    unet = UNetSpatioTemporalConditionModel(
        sample_size=8,
        block_out_channels=(32, 32),
        down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
        up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
        layers_per_block=1,
        cross_attention_dim=WIDTH,
        num_attention_heads=(2, 2),
        addition_time_embed_dim=WIDTH,
        projection_class_embeddings_input_dim=3 * WIDTH,
        num_frames=17,  # more than a chunk has, as SVD-XT's 25
    )
    StableVideoDiffusionPipeline(
        temporal_autoencoder(),
        image_encoder(),
        unet,
        EulerDiscreteScheduler(
            prediction_type="v_prediction",
            use_karras_sigmas=True,
            sigma_min=0.002,
            sigma_max=700.0,
            timestep_type="continuous",  # with whole timesteps several steps would be the last one
        ),
        CLIPImageProcessor(),
    ).save_pretrained(folder)


@seeded
def write_i2vgen_xl(folder: Path) -> None:
    unet = I2VGenXLUNet(
        sample_size=8,
        block_out_channels=(8, 8),
        down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
        up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
        layers_per_block=1,
        norm_num_groups=2,
        cross_attention_dim=WIDTH,
        attention_head_dim=4,
    )
    parts = text_encoder(), tokenizer(), image_encoder(), CLIPImageProcessor(), unet, scheduler()
    I2VGenXLPipeline(autoencoder(), *parts).save_pretrained(folder)


@seeded
def write_sdxl(folder: Path) -> None:
    unet = unet_2d(
        cross_attention_dim=2 * WIDTH,
        addition_embed_type="text_time",
        addition_time_embed_dim=WIDTH,
        projection_class_embeddings_input_dim=7 * WIDTH,
    )
    new_sdxl(
        autoencoder(),
        text_encoder(),
        text_encoder(CLIPTextModelWithProjection),
        tokenizer(),
        tokenizer(),
        unet,
        EulerDiscreteScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"),
        add_watermarker=False,
    ).save_pretrained(folder)
