"""Alternatives to CAM for conditioning a window on its history, as compared in the paper's ablation.

Each one replaces CAM's feature extractor and mergers, so training and sampling run it like CAM. All share the same
frozen base and start with the base's output. One is not of that ablation: "last-frame", which begins with one picture
as image-to-video models do.

Shapes: A samples, C channels, F frames of a window, G conditioning frames, N = A*F or A*G (batch-major), H, W latent
rows and columns, P, R picture rows and columns, L text tokens, D text width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Self, cast

import torch
from diffusers.models.unets.unet_3d_condition import UNet3DConditionModel
from torch import Tensor, nn
from torch.nn import functional

from core.model.engines.streaming_t2v.cam import CamFeatureExtractor
from core.model.networks.layouts import batch_to_frames
from core.model.networks.unet_halves import EncodedHalf, EncoderNetwork, encode_half
from core.model.training.stages.base import without_dropout
from core.model.training.stages.history import WINDOW_FRAMES
from core.model.training.stages.memory import Memory

Conditioning = Literal["none", "concat", "concat-encoder", "last-frame", "add", "cam"]
EncodePictures = Callable[[Tensor], Tensor]
"""Pictures [N, 3, P, R] in [-1, 1] -> scaled latents [N, C, H, W]."""


def replace_conditioning(
    memory: Memory, conditioning: Conditioning, unet: UNet3DConditionModel, encode: EncodePictures
) -> Memory:
    """`memory` with another kind of short-term conditioning; its APM parts are kept."""
    if conditioning == "cam":
        return memory
    if conditioning == "none":
        return _with(memory, memory.cam.requires_grad_(False), lambda _: IdentityMerger())
    if conditioning == "add":
        return _with(memory, WindowControlNet.sharing(memory.cam, unet), ZeroConvMerger)
    kind = LastFrameEncoder if conditioning == "last-frame" else ConcatenatingEncoder
    encoder = kind.copying(unet, encode)
    if conditioning == "concat":
        encoder.requires_grad_(False).conv_in.requires_grad_(True)
    return _with(memory, encoder, lambda _: ReplacingMerger())


def _with(memory: Memory, extractor: CamFeatureExtractor, merger: Callable[[int], nn.Module]) -> Memory:
    """The memory with this extractor, and a merger for the channels of each connection."""
    mergers = memory.mergers
    widths = [cast("Any", skip).proj_in.in_features for skip in mergers.skips]
    mergers.mid = cast("Any", merger(cast("Any", mergers.mid).proj_in.in_features))
    mergers.skips = nn.ModuleList(merger(width) for width in widths)
    return Memory(extractor, mergers, memory.mixers, memory.expander)


class IdentityMerger(nn.Module):
    """No conditioning: returns the base's own feature."""

    def forward(self, skip_NCHW: Tensor, num_frames: int, feature_NCHW: Tensor, num_feature_frames: int) -> Tensor:
        """Like FrameMerger.forward."""
        del num_frames, feature_NCHW, num_feature_frames
        return skip_NCHW


class ZeroConvMerger(nn.Module):
    """ControlNet (Zhang et al. 2023): adds the feature through a zero-initialised 1x1 convolution."""

    def __init__(self, channels: int) -> None:
        """Starts as the identity."""
        super().__init__()
        self.convolution = nn.Conv2d(channels, channels, 1)
        for parameter in self.convolution.parameters():
            nn.init.zeros_(parameter)

    def forward(self, skip_NCHW: Tensor, num_frames: int, feature_NCHW: Tensor, num_feature_frames: int) -> Tensor:
        """Like FrameMerger.forward, for a feature with as many frames as the base's."""
        assert num_frames == num_feature_frames, "every frame of the window needs a feature"
        added: Tensor = self.convolution(feature_NCHW)
        return skip_NCHW + added


class ReplacingMerger(nn.Module):
    """Returns the extractor's feature in place of the base's."""

    def forward(self, skip_NCHW: Tensor, num_frames: int, feature_NCHW: Tensor, num_feature_frames: int) -> Tensor:
        """Like FrameMerger.forward, for a feature with as many frames as the base's."""
        assert num_frames == num_feature_frames, "every frame of the window needs a feature"
        del skip_NCHW
        return feature_NCHW


class WindowControlNet(CamFeatureExtractor):
    """A ControlNet over the whole window: CAM's extractor for all F frames, whose features are added frame by frame.

    New frames have no picture: they are black, and a mask, through a zero-initialised convolution, marks them.
    """

    known: nn.Conv2d

    @classmethod
    def sharing(cls, cam: CamFeatureExtractor, unet: UNet3DConditionModel) -> WindowControlNet:
        """Initialised like CAM: with a copy of the base's encoder, and CAM's picture encoder."""
        extractor = without_dropout(cls(dict(cast("Any", unet.config)), (1, 1), WINDOW_FRAMES))
        extractor.picture_encoder = cam.picture_encoder
        extractor.known = nn.Conv2d(1, cam.conv_in.out_channels, 1, bias=False)
        nn.init.zeros_(extractor.known.weight)
        own = {name: weight for name, weight in cam.state_dict().items() if not name.startswith("picture_encoder")}
        extractor.load_state_dict(own, strict=False)
        return extractor

    def embed_pictures(self, conditioning_frames: Tensor) -> Tensor:
        """Pictures [G, 3, P, R] or [A, G, 3, P, R] in [-1, 1], and the mask -> [F, C, H, W] or [N, C, H, W]."""
        padded = padded_to_window(conditioning_frames, value=-1.0)
        embedded_NCHW = super().embed_pictures(padded)
        mask = known_frames(embedded_NCHW, conditioning_frames.shape[-4])
        marked: Tensor = self.known(mask)
        return embedded_NCHW + marked


class ConcatenatingEncoder(CamFeatureExtractor):
    """Channel concatenation: a copy of the base's encoder whose first convolution also reads [E(V)*M, M].

    E(V) are the latents of the conditioning frames, M masks the frames that have one. The base's decoder stays frozen
    and reads this encoder's features in place of its own encoder's. Of the copy, "concat" trains the widened
    convolution alone, so the base stays as frozen as for all others; "concat-encoder" trains all of it.
    """

    encode: EncodePictures

    @classmethod
    def copying(cls, unet: UNet3DConditionModel, encode: EncodePictures) -> Self:
        """Initialised as the base's encoder; the weights of the added input channels are zero."""
        extractor = cast(Self, without_dropout(cls.from_unet(unet, (1, 1), WINDOW_FRAMES)))
        extractor.picture_encoder = cast("Any", nn.Identity())
        extractor.conv_in = _widened(extractor.conv_in, unet.conv_in.in_channels + 1)
        extractor.encode = encode
        return extractor

    def embed_pictures(self, conditioning_frames: Tensor) -> Tensor:
        """Pictures [G, 3, P, R] or [A, G, 3, P, R] in [-1, 1] -> added channels [F, C+1, H, W] or [N, C+1, H, W]."""
        with torch.no_grad():
            latents_NCHW = self.encode(conditioning_frames.flatten(0, -4))
        history = latents_NCHW.unflatten(0, conditioning_frames.shape[:-3])
        window_NCHW = self.over_window(history).flatten(0, -4)
        return torch.cat([window_NCHW, known_frames(window_NCHW, history.shape[-4])], dim=1)

    def over_window(self, history: Tensor) -> Tensor:
        """What each frame of the window is given of the history's latents: [..., G, C, H, W] -> [..., F, C, H, W]."""
        return padded_to_window(history, value=0.0)

    def forward(
        self, latents_BCFHW: Tensor, timestep: Tensor, text_states_BLD: Tensor, embedded_pictures: Tensor
    ) -> EncodedHalf:
        """Features of the encoder half for all F frames."""
        frames = latents_BCFHW.shape[2]
        added = batch_to_frames(embedded_pictures, frames).expand(len(latents_BCFHW), -1, -1, -1, -1)
        inputs = torch.cat([latents_BCFHW, added.to(latents_BCFHW.dtype)], dim=1)
        return encode_half(cast(EncoderNetwork, self), inputs, timestep, text_states_BLD)


class LastFrameEncoder(ConcatenatingEncoder):
    """Image-to-video, after Stable Video Diffusion (Blattmann et al. 2023, arXiv 2311.15127): EVERY frame of a clip has
    the latents of its one given picture as additional input channels, so none has to find it through the layers along
    time. All of the copy is trained, as image-to-video models train their whole network.

    M marks frame 0, which shows the picture. SVD needs no mask: its layers along time know where a frame stands. Those
    of this base know it from the padding of their convolutions alone, and the picture is the same in all frames. The
    prompt is read, as in I2VGen-XL, SEINE and DynamiCrafter; SVD has the picture's CLIP embedding in its place.
    """

    def over_window(self, history: Tensor) -> Tensor:
        """The picture in each frame: [..., 1, C, H, W] -> [..., F, C, H, W]."""
        assert history.shape[-4] == 1, "a clip begins with one picture"
        return history.expand(*history.shape[:-4], WINDOW_FRAMES, *history.shape[-3:])


def padded_to_window(frames: Tensor, value: float) -> Tensor:
    """[..., G, C, H, W] -> [..., F, C, H, W]; missing frames are filled with `value`."""
    return functional.pad(frames, (0, 0, 0, 0, 0, 0, 0, WINDOW_FRAMES - frames.shape[-4]), value=value)


def known_frames(window_NCHW: Tensor, num_conditioning_frames: int) -> Tensor:
    """The mask [N, 1, H, W] of whole windows: 1 in the conditioning frames, with which a window begins."""
    repeats = torch.arange(len(window_NCHW), device=window_NCHW.device) % WINDOW_FRAMES < num_conditioning_frames
    return repeats.to(window_NCHW.dtype).view(-1, 1, 1, 1).expand(-1, 1, *window_NCHW.shape[2:])


def _widened(convolution: nn.Conv2d, added: int) -> nn.Conv2d:
    """The convolution with `added` more input channels, whose weights are zero."""
    assert convolution.bias is not None, "a UNet's first convolution has a bias"
    wider = nn.Conv2d(
        convolution.in_channels + added,
        convolution.out_channels,
        cast("tuple[int, int]", convolution.kernel_size),
        padding=cast("tuple[int, int]", convolution.padding),
    )
    with torch.no_grad():
        wider.weight.zero_()
        wider.weight[:, : convolution.in_channels] = convolution.weight
        wider.bias = nn.Parameter(convolution.bias.detach().clone())
    return wider
