"""Stages `image` and `video`: train the base text-to-video UNet with a frozen text encoder, on single frames first,
then on clips of 16 frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar, cast

import numpy as np
import torch
from diffusers.models.unets.unet_3d_condition import UNet3DConditionModel
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPVisionModelWithProjection

from core.model.engines.streaming_t2v.apm import ApmMixer, ApmMixers, TokenExpander
from core.model.networks.base_network import predict_base, with_image_tokens
from core.model.networks.cross_attention import SharedTextLayers
from core.model.networks.encoders import ClipTextEncoder
from core.model.training.loop import parallel
from core.model.training.sprites.clip_bank import ClipBank
from core.model.training.sprites.word_tokenizer import MAX_TOKENS, hide_filler_words
from core.model.training.stages import diffusion, history

ModuleT = TypeVar("ModuleT", bound=nn.Module)

TEXT_WIDTH = 64
STAGE = 2
VIVID_STEPS = 1500
"""Steps of the stage `video` in which vivid clips fade out: from all to none."""
ALPHA_RATE = 10.0
"""Learning-rate factor of APM's alphas."""


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


@dataclass(frozen=True)
class Anchors:
    """Lets a base learn to read APM's anchor frames: what of a surface no caption names, these show.

    The base stays frozen when APM is trained, and its layers could not draw what they have never been told of.
    """

    image_encoder: CLIPVisionModelWithProjection
    vae: nn.Module
    mixers: ApmMixers
    expander: TokenExpander
    share: float = 0.6
    """Of the batches; the others have no anchor, as a first chunk."""
    dropout: float = 0.1
    """Share of these anchors that are replaced by mid-grey, as in guidance."""
    noise: float = 0.1
    """Maximum noise on an anchor's latents, in standard deviations of the latents."""


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
        anchors: Anchors | None = None,
    ) -> None:
        """`scale` is the scaling factor of the latents; `noisy_share` of the timesteps come from the noisy end.

        With `anchors` the clips of `bank` must be longer than `frames`: an anchor is one of the frames after those.
        Injects text layers into `unet` whose frames share one text.
        """
        self.unet = unet
        self.anchors = anchors
        self.text_encoder = text_encoder.requires_grad_(False)
        self.tokenizer = tokenizer
        self.modules: dict[str, nn.Module] = {"unet": unet}
        self.rate_factors: dict[nn.Parameter, float] = {}
        if anchors is None:
            SharedTextLayers(unet).inject()
        else:
            anchors.mixers.layers_of(unet).inject()
            self.modules |= {"mixers": anchors.mixers, "expander": anchors.expander}
            self.rate_factors = alpha_rates(anchors.mixers)
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
        drawn = self.frames if self.anchors is None else self.bank.latents_ktchw.shape[1]
        latents_btchw, captions = self.bank.batch(rng, self.batch, drawn, self.from_start, self.similar_colours)
        latents_btchw, later_btchw = latents_btchw[:, : self.frames], latents_btchw[:, self.frames :]
        clean_bcthw = (latents_btchw.transpose(1, 2).contiguous() * self.scale).to(self.unet.device)
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        noise_bcthw = torch.randn(clean_bcthw.shape, generator=generator).to(clean_bcthw)
        timesteps = diffusion.random_timesteps(rng, self.batch, self.noisy_share).to(clean_bcthw.device)
        alphas_b = self.alphas_cumprod_T.to(clean_bcthw)[timesteps]
        noisy_bcthw, target_bcthw = diffusion.noisy_and_target(clean_bcthw, noise_bcthw, alphas_b)
        texts = drop_captions(captions, rng, self.caption_dropout, self.unknown_words)
        text_bld = caption_states(self.text_encoder, self.tokenizer, texts)
        anchors = self.anchors if self._shows_anchors(step) else None
        tokens_bkd = None if anchors is None else self._image_tokens(anchors, later_btchw, rng, generator)
        states = with_image_tokens(text_bld, tokens_bkd)
        prediction = predict_base(self.unet, noisy_bcthw, timesteps, states)
        return diffusion.v_loss(prediction, target_bcthw, alphas_b)

    def _shows_anchors(self, step: int) -> bool:
        """Whether a step has anchors: the same for all processes, which must have the same gradients to average."""
        rng = np.random.default_rng((self.seed, STAGE, self.frames, step // parallel.world_size(), 1))
        return self.anchors is not None and rng.random() < self.anchors.share

    def _image_tokens(
        self, anchors: Anchors, later_btchw: Tensor, rng: np.random.Generator, generator: torch.Generator
    ) -> Tensor:
        """Tokens [B, K, width] of one frame of each clip."""
        frames_b1chw = history.draw_anchors(later_btchw, rng)
        pictures = history.history_pictures(anchors.vae, frames_b1chw, self.scale, anchors.noise, generator)[:, 0]
        return history.image_tokens(anchors.image_encoder, anchors.expander, pictures, anchors.dropout, rng)


class ClipsAndFramesTask:
    """Clips, and on every fourth step single frames: these cover many more captions in the same time.

    Clips begin with vivid ones: what faint patterns look like is learnt much sooner from strong ones.
    """

    def __init__(self, clips: BaseTask, frames: BaseTask, vivid: ClipBank) -> None:
        """Both tasks must train the same networks."""
        self.clips = clips
        self.frames = frames
        self.modules = clips.modules
        self.rate_factors = clips.rate_factors
        self._banks = (vivid, clips.bank)

    def loss(self, step: int) -> Tensor:
        # All processes take the same kind of step at the same time, as each waits for the slowest.
        moment = step // parallel.world_size()
        if moment % 4 == 3:
            return self.frames.loss(step)
        rng = np.random.default_rng((self.clips.seed, STAGE, moment, 2))
        self.clips.bank = self._banks[int(rng.random() < moment / VIVID_STEPS)]
        return self.clips.loss(step)


def alpha_rates(mixers: ApmMixers) -> dict[nn.Parameter, float]:
    """Learning-rate factors of APM's alphas: single numbers that start at zero, in front of whole layers."""
    return {mixer.alpha: ALPHA_RATE for mixer in cast("list[ApmMixer]", list(mixers.mixers))}


def caption_states(text_encoder: CLIPTextModel, tokenizer: Tokenizer, captions: list[str]) -> Tensor:
    """Captions -> text states [B, MAX_TOKENS, width], without gradients."""
    with torch.no_grad():
        return ClipTextEncoder(tokenizer, text_encoder)(captions)


def drop_captions(captions: list[str], rng: np.random.Generator, dropped: float, unknown: float) -> list[str]:
    """Replace captions by "" with probability `dropped`, and filler words by [UNK] with probability `unknown`."""
    return ["" if rng.random() < dropped else text for text in hide_filler_words(captions, rng, unknown)]
