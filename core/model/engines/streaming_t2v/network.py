"""The StreamingT2V network of one denoising step: base UNet, CAM and APM as one differentiable function.

Inference and training call the same code.

Shapes: B batch, C latent channels, F frames, H, W latent rows and columns, L text tokens, K image tokens, D text width,
G conditioning frames, P, R picture rows and columns.
"""

from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from typing import Any

from diffusers.models.unets.unet_3d_condition import UNet3DConditionModel
from torch import Tensor, nn

from core.model.engines.streaming_t2v.apm import ApmMixers, TokenExpander
from core.model.engines.streaming_t2v.cam import CamFeatureExtractor, CamMergers
from core.model.networks.base_network import CrossAttentionCache, predict_base, with_image_tokens
from core.model.networks.compilation import Compiler
from core.model.networks.cross_attention import repeat_per_frame
from core.model.networks.unet_halves import (
    as_encoder,
    decode_deep_levels,
    decode_last_level,
    encode_first_level,
    encode_half,
    first_level,
)


def predict_noise(
    unet: UNet3DConditionModel,
    cam: CamFeatureExtractor,
    mergers: CamMergers,
    latents_BCFHW: Tensor,
    timestep: Tensor,
    text_states_BLD: Tensor,
    image_tokens_BKD: Tensor | None,
    conditioning_frames: Tensor,
) -> Tensor:
    """Prediction [B, C, F, H, W] (epsilon or v, as the base was trained), differentiable.

    `timestep`: scalar or [B]. `conditioning_frames`: [B, G, 3, P, R], or [G, 3, P, R] for the whole batch, in [-1, 1].
    `image_tokens_BKD` need APM mixers injected into `unet` (`ApmMixers.layers_of(unet).inject()`); None leaves APM out.
    """
    embedded = cam.embed_pictures(conditioning_frames)
    return predict_with_deep(unet, cam, mergers, latents_BCFHW, timestep, text_states_BLD, image_tokens_BKD, embedded)[
        0
    ]


def predict_with_deep(
    unet: UNet3DConditionModel,
    cam: CamFeatureExtractor,
    mergers: CamMergers,
    latents_BCFHW: Tensor,
    timestep: Tensor,
    text_states_BLD: Tensor,
    image_tokens_BKD: Tensor | None,
    embedded_pictures: Tensor,
) -> tuple[Tensor, Tensor]:
    """As `predict_noise`, from `cam.embed_pictures(...)`; returns the prediction and the deep features.

    With more texts than samples (both halves of guidance), layers before the first cross-attention run once.
    """
    tokens = with_image_tokens(text_states_BLD, image_tokens_BKD)
    base = encode_half(as_encoder(unet), latents_BCFHW, timestep, tokens)
    features = cam(latents_BCFHW, timestep, text_states_BLD, embedded_pictures)
    merged = mergers(base, features)
    deep_NCHW = decode_deep_levels(unet, merged)
    return decode_last_level(unet, first_level(unet, merged), deep_NCHW), deep_NCHW


def predict_from_deep(
    unet: UNet3DConditionModel,
    cam: CamFeatureExtractor,
    mergers: CamMergers,
    latents_BCFHW: Tensor,
    timestep: Tensor,
    text_states_BLD: Tensor,
    embedded_pictures: Tensor,
    deep_NCHW: Tensor,
) -> Tensor:
    """Prediction from the deep features of an earlier step; only the first resolution is computed."""
    base = encode_first_level(as_encoder(unet), latents_BCFHW, timestep, text_states_BLD)
    features = cam.first_level(latents_BCFHW, timestep, text_states_BLD, embedded_pictures)
    return decode_last_level(unet, mergers.merge_first_level(base, features), deep_NCHW)


class StreamingNetwork:
    """Base UNet with CAM and APM injected; `eject` removes them. Injected, the UNet takes text states per batch item.

    The base UNet's weights are not changed.
    """

    def __init__(
        self,
        unet: UNet3DConditionModel,
        cam: CamFeatureExtractor,
        mergers: CamMergers,
        mixers: ApmMixers,
        expander: TokenExpander,
    ) -> None:
        """Injects at once. All five must have matching sizes, one device and one dtype."""
        self.unet = unet
        self.cam = cam
        self.mergers = mergers
        self.mixers = mixers
        self.expander = expander
        self._unet_layers = mixers.layers_of(unet).inject()
        self._predict_with_deep: Callable[..., Any] = predict_with_deep
        self._predict_from_deep: Callable[..., Any] = predict_from_deep
        self._predict_base: Callable[..., Tensor] = predict_base
        self._runs_eagerly = False

    @property
    def parts(self) -> dict[str, nn.Module]:
        """Every module, by name."""
        return {
            "unet": self.unet,
            "cam": self.cam,
            "mergers": self.mergers,
            "mixers": self.mixers,
            "expander": self.expander,
        }

    @property
    def weight(self) -> Tensor:
        """One of the weights; all have its device and dtype."""
        return self.unet.conv_in.weight

    def inject(self) -> None:
        """Inject again after `eject`."""
        self._unet_layers.inject()

    def eject(self) -> None:
        """Restore the UNet's attention processors: its forward then equals diffusers' own bit by bit."""
        self._unet_layers.eject()

    def precompute(self, text_states_BLD: Tensor, image_tokens_BKD: Tensor | None) -> CrossAttentionCache:
        """Keys and values for text and anchor tokens; without image tokens, for the base only (first chunk)."""
        unet = self._unet_layers.keys_values(with_image_tokens(text_states_BLD, image_tokens_BKD))
        cam = () if image_tokens_BKD is None else self.cam.text_layers.keys_values(text_states_BLD)
        return CrossAttentionCache(unet, cam)

    def precompute_frames(
        self, frame_states_BFLD: Tensor, text_states_BLD: Tensor, image_tokens_BKD: Tensor
    ) -> CrossAttentionCache:
        """As `precompute`, with a text for every frame of the window. CAM, which reads the past, takes one text."""
        num_frames = frame_states_BFLD.shape[1]
        tokens = with_image_tokens(frame_states_BFLD.flatten(0, 1), repeat_per_frame(image_tokens_BKD, num_frames))
        cam = self.cam.text_layers.keys_values(text_states_BLD)
        return CrossAttentionCache(self._unet_layers.keys_values(tokens), cam, num_frames)

    @contextmanager
    def use_cache(self, cache: CrossAttentionCache) -> Generator[None, None, None]:
        """Within the block, all cross-attention layers use these keys and values."""
        # A text per frame is so rare that compiling for it, which takes minutes, would never pay.
        self._runs_eagerly = cache.unet_entries > 1
        with ExitStack() as stack:
            stack.enter_context(self._unet_layers.use_cache(cache.unet))
            if cache.cam:
                stack.enter_context(self.cam.text_layers.use_cache(cache.cam))
            yield

    def compile(self, compiler: Compiler) -> None:
        """Compile the steps with `compiler`."""
        self._predict_with_deep = compiler(predict_with_deep)
        self._predict_from_deep = compiler(predict_from_deep)
        self._predict_base = compiler(predict_base)

    def predict(self, latents_ACFHW: Tensor, timestep: Tensor, text_states_BLD: Tensor) -> Tensor:
        """Prediction of the base only [B, C, F, H, W], for a first chunk; see `predict_base`."""
        return self._predict_base(self.unet, latents_ACFHW, timestep, text_states_BLD)

    def predict_window(
        self, latents_ACFHW: Tensor, timestep: Tensor, text_states_BLD: Tensor, embedded_pictures: Tensor
    ) -> Tensor:
        """Prediction for a window [B, C, F, H, W], inside `use_cache` (text and anchor are in the cache).

        One sample [1, C, F, H, W] may have several texts.
        """
        return self.predict_window_with_deep(latents_ACFHW, timestep, text_states_BLD, embedded_pictures)[0]

    def predict_window_with_deep(
        self, latents_ACFHW: Tensor, timestep: Tensor, text_states_BLD: Tensor, embedded_pictures: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As `predict_window`, with deep features [N, C, H, W] for `predict_window_from_deep`."""
        parts = (self.unet, self.cam, self.mergers)
        predict = predict_with_deep if self._runs_eagerly else self._predict_with_deep
        return predict(*parts, latents_ACFHW, timestep, text_states_BLD, None, embedded_pictures)

    def predict_window_from_deep(
        self,
        latents_ACFHW: Tensor,
        timestep: Tensor,
        text_states_BLD: Tensor,
        embedded_pictures: Tensor,
        deep_NCHW: Tensor,
    ) -> Tensor:
        """As `predict_window`, approximated with the deep features of an earlier step."""
        parts = (self.unet, self.cam, self.mergers)
        predict = predict_from_deep if self._runs_eagerly else self._predict_from_deep
        return predict(*parts, latents_ACFHW, timestep, text_states_BLD, embedded_pictures, deep_NCHW)
