"""Stages `image` and `video`: train the base text-to-video UNet with a frozen text encoder, on single frames first,
then on clips of 16 frames.
"""

from __future__ import annotations

from typing import Any, TypeVar, cast

import numpy as np
import torch
from diffusers.models.unets.unet_3d_condition import UNet3DConditionModel
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from core.model.networks.encoders import ClipTextEncoder
from core.model.training.loop import parallel
from core.model.training.sprites.clip_bank import ClipBank
from core.model.training.sprites.word_tokenizer import MAX_TOKENS, hide_filler_words
from core.model.training.stages import diffusion

ModuleT = TypeVar("ModuleT", bound=nn.Module)

TEXT_WIDTH = 64
STAGE = 2


def sprites_text_encoder(vocabulary_size: int, width: int = TEXT_WIDTH, layers: int = 2) -> CLIPTextModel:
    """The untrained text encoder: last_hidden_state [B, MAX_TOKENS, width].

    Token embeddings start far apart: from CLIP's own small initialisation, what all captions have in common grew faster
    than their differences, and the final norm shrank the differences.
    """
    encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=vocabulary_size,
            hidden_size=width,
            intermediate_size=2 * width,
            projection_dim=width,
            num_hidden_layers=layers,
            num_attention_heads=4,
            max_position_embeddings=MAX_TOKENS,
            hidden_act="gelu",
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
        )
    )
    with torch.no_grad():
        for name, module in encoder.named_modules():
            if isinstance(module, nn.Embedding):
                module.weight.normal_(std=1.0 if name.endswith("token_embedding") else 0.3)
    return encoder


def sprites_unet(channels: tuple[int, ...] = (48, 64, 48, 32), text_width: int = TEXT_WIDTH) -> UNet3DConditionModel:
    """The untrained UNet on 8x8 latents: four levels of two layers, so 12 skip features and a mid feature."""
    unet = UNet3DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        block_out_channels=channels,
        layers_per_block=2,
        attention_head_dim=16,
        cross_attention_dim=text_width,
        norm_num_groups=8,
    )
    return without_dropout(unet)


def without_dropout(network: ModuleT) -> ModuleT:
    """Disable the dropout of the temporal convolutions: it costs time, a small model does not overfit, and its random
    numbers are not seeded by the step. Changes `network` in place."""
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return network


class BaseTask:
    """Denoise latents given a caption: v prediction, min-SNR weights, random caption dropout for guidance."""

    def __init__(
        self,
        unet: UNet3DConditionModel,
        text_encoder: CLIPTextModel,
        tokenizer: Tokenizer,
        bank: ClipBank,
        seed: int,
        frames: int,
        batch: int,
        scale: float,
        noisy_share: float,
        caption_dropout: float = 0.1,
        unknown_words: float = 0.08,
        from_start: float = 0.75,
        similar_colours: float = 0.4,
    ) -> None:
        """`scale` is the scaling factor of the latents; `noisy_share` of the timesteps come from the noisy end."""
        self.unet = unet
        self.text_encoder = text_encoder.requires_grad_(False)
        self.tokenizer = tokenizer
        self.modules: dict[str, nn.Module] = {"unet": unet}
        self.bank = bank
        self.seed = seed
        self.frames = frames
        self.batch = batch
        self.scale = scale
        self.noisy_share = noisy_share
        self.caption_dropout = caption_dropout
        self.unknown_words = unknown_words
        self.from_start = from_start
        self.similar_colours = similar_colours
        self.alphas_cumprod_T = diffusion.alphas_cumprod()

    def loss(self, step: int) -> Tensor:
        rng = np.random.default_rng((self.seed, STAGE, self.frames, step))
        latents_btchw, captions = self.bank.batch(rng, self.batch, self.frames, self.from_start, self.similar_colours)
        clean_bcthw = (latents_btchw.transpose(1, 2).contiguous() * self.scale).to(self.unet.device)
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        noise_bcthw = torch.randn(clean_bcthw.shape, generator=generator).to(clean_bcthw)
        timesteps = diffusion.random_timesteps(rng, self.batch, self.noisy_share).to(clean_bcthw.device)
        alphas_b = self.alphas_cumprod_T.to(clean_bcthw)[timesteps]
        noisy_bcthw, target_bcthw = diffusion.noisy_and_target(clean_bcthw, noise_bcthw, alphas_b)
        texts = drop_captions(captions, rng, self.caption_dropout, self.unknown_words)
        text_bld = caption_states(self.text_encoder, self.tokenizer, texts)
        prediction = cast("Any", self.unet)(noisy_bcthw, timesteps, encoder_hidden_states=text_bld).sample
        return diffusion.v_loss(prediction, target_bcthw, alphas_b)


class ClipsAndFramesTask:
    """Clips, and on every fourth step single frames: these cover many more captions in the same time."""

    def __init__(self, clips: BaseTask, frames: BaseTask) -> None:
        """Both tasks must train the same networks."""
        self.clips = clips
        self.frames = frames
        self.modules = clips.modules

    def loss(self, step: int) -> Tensor:
        # All processes take the same kind of step at the same time, as each waits for the slowest.
        task = self.frames if step // parallel.world_size() % 4 == 3 else self.clips
        return task.loss(step)


def caption_states(text_encoder: CLIPTextModel, tokenizer: Tokenizer, captions: list[str]) -> Tensor:
    """Captions -> text states [B, MAX_TOKENS, width], without gradients."""
    with torch.no_grad():
        return ClipTextEncoder(tokenizer, text_encoder)(captions)


def drop_captions(captions: list[str], rng: np.random.Generator, dropped: float, unknown: float) -> list[str]:
    """Replace captions by "" with probability `dropped`, and filler words by [UNK] with probability `unknown`."""
    return ["" if rng.random() < dropped else text for text in hide_filler_words(captions, rng, unknown)]
