"""Train the base text-to-video UNet over a frozen text encoder: single frames first, then clips of 16."""

from __future__ import annotations

from typing import Any, TypeVar, cast

import numpy as np
import torch
from diffusers.models.unets.unet_3d_condition import UNet3DConditionModel
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from core.model.training import data, diffusion, parallel

ModuleT = TypeVar("ModuleT", bound=nn.Module)

TEXT_WIDTH = 64
STAGE = 2


def build_text_encoder(vocabulary_size: int, width: int = TEXT_WIDTH, layers: int = 2) -> CLIPTextModel:
    """Build the untrained text encoder: last_hidden_state [B, MAX_TOKENS, width].

    Its words start far apart: from CLIP's own small start, what all captions share grew faster than what tells them
    apart, and the final norm shrank the rest.
    """
    encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=vocabulary_size,
            hidden_size=width,
            intermediate_size=2 * width,
            projection_dim=width,
            num_hidden_layers=layers,
            num_attention_heads=4,
            max_position_embeddings=data.MAX_TOKENS,
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


def build_unet(channels: tuple[int, ...] = (48, 64, 48, 32), text_width: int = TEXT_WIDTH) -> UNet3DConditionModel:
    """Build the untrained UNet on 8x8 latents: four levels of two layers, so 12 skip features and a mid feature."""
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
    """Switch the temporal convolutions' dropout off: it costs time, a small model has nothing to spare, and its draws
    follow no step's seed."""
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return network


class BaseTask:
    """Denoise latents given a caption: v prediction, min-SNR weights, captions dropped now and then for guidance."""

    def __init__(
        self,
        unet: UNet3DConditionModel,
        text_encoder: CLIPTextModel,
        tokenizer: Tokenizer,
        bank: data.ClipBank,
        seed: int,
        frames: int,
        batch: int,
        scale: float,
        noisy_share: float,
        caption_dropout: float = 0.1,
        unknown_words: float = 0.08,
        beginnings: float = 0.75,
        alike: float = 0.4,
    ) -> None:
        """`noisy_share` of the timesteps are from the noisy end, where only the words can tell what to draw."""
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
        self.beginnings = beginnings
        self.alike = alike
        self.signal = diffusion.alphas_bar()

    def loss(self, step: int) -> Tensor:
        rng = np.random.default_rng((self.seed, STAGE, self.frames, step))
        latents_btchw, captions = self.bank.batch(rng, self.batch, self.frames, self.beginnings, self.alike)
        clean_bcthw = (latents_btchw.transpose(1, 2).contiguous() * self.scale).to(self.unet.device)
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        noise_bcthw = torch.randn(clean_bcthw.shape, generator=generator).to(clean_bcthw)
        timesteps = diffusion.random_timesteps(rng, self.batch, self.noisy_share).to(clean_bcthw.device)
        signal = self.signal.to(clean_bcthw)[timesteps]
        noisy_bcthw, target_bcthw = diffusion.noisy_and_target(clean_bcthw, noise_bcthw, signal)
        texts = drop_captions(captions, rng, self.caption_dropout, self.unknown_words)
        text_bld = caption_states(self.text_encoder, self.tokenizer, texts)
        prediction = cast("Any", self.unet)(noisy_bcthw, timesteps, encoder_hidden_states=text_bld).sample
        return diffusion.v_loss(prediction, target_bcthw, signal)


class ClipsAndFramesTask:
    """Clips, and on every fourth step single frames: these show many more captions for the same time."""

    def __init__(self, clips: BaseTask, frames: BaseTask) -> None:
        """Both tasks train the same networks."""
        self.clips = clips
        self.frames = frames
        self.modules = clips.modules

    def loss(self, step: int) -> Tensor:
        # All processes take the same kind of step at the same time: they wait for the slowest.
        task = self.frames if step // parallel.world_size() % 4 == 3 else self.clips
        return task.loss(step)


def caption_states(text_encoder: CLIPTextModel, tokenizer: Tokenizer, captions: list[str]) -> Tensor:
    """Captions -> [B, MAX_TOKENS, width], no gradient."""
    ids = data.encode(tokenizer, captions).to(text_encoder.device)
    with torch.no_grad():
        return cast("Tensor", cast("Any", text_encoder)(ids).last_hidden_state)


def drop_captions(captions: list[str], rng: np.random.Generator, dropped: float, unknown: float) -> list[str]:
    """Empty a share of the captions, and turn a share of the remaining filler words into unknown ones."""
    return ["" if rng.random() < dropped else text for text in data.blur_wording(captions, rng, unknown)]
