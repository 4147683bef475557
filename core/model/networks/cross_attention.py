"""Cross-attention to one text per video instead of one copy per frame.

diffusers' UNet3D repeats and projects the text for every frame, although keys and values are the same for all frames.
These layers project it once per batch item and fold frames into the query. They can mix in the anchor frame's image
tokens (APM), and use keys and values that were computed once per video.

Shapes: B batch, F frames, N = B*F (batch-major), Q pixels, L text tokens, K image tokens, D text width, C channels,
M heads, E head width.
"""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn
from torch.nn import functional

from core.model.networks.attention import AttentionLayer, project_out, split_heads
from core.model.networks.kernels import dense

Mixer = Callable[[Tensor], Tensor]
"""(text and image tokens [B, L+K, D]) -> states [B, L, D] for keys and values. APM's mixers are such functions."""


@dataclass(frozen=True)
class KeysValues:
    """Keys and values of one cross-attention layer, each [B, M, L, E]; [B*F, M, L, E] if each frame has a text."""

    keys_BMLE: Tensor
    values_BMLE: Tensor

    def last(self, num_entries: int) -> "KeysValues":
        """The last entries."""
        return KeysValues(self.keys_BMLE[-num_entries:], self.values_BMLE[-num_entries:])


class FrameSharedCrossAttention:
    """diffusers attention processor in which all frames of a batch item share keys and values."""

    def __init__(self, mixer: Mixer | None = None) -> None:
        """`mixer` is applied to the states before projection; without image tokens it returns the text unchanged."""
        self.mixer = mixer
        self.cached: KeysValues | None = None

    def keys_values(self, attention: AttentionLayer, states_BLD: Tensor) -> KeysValues:
        """Keys and values of text states [B, L, D] ([B, L+K, D] with image tokens) for the layer `attention`."""
        mixed_BLD = states_BLD if self.mixer is None else self.mixer(states_BLD)
        return KeysValues(
            split_heads(dense(attention.to_k, mixed_BLD), attention.heads),
            split_heads(dense(attention.to_v, mixed_BLD), attention.heads),
        )

    def __call__(
        self,
        attn: AttentionLayer,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,  # noqa: ARG002 - diffusers passes it; UNet3D never masks
    ) -> Tensor:
        """Attend hidden states [N, Q, C] to cached keys and values, else to text states [B, L, D] -> [N, Q, C]."""
        read = self.cached
        if read is None:
            if encoder_hidden_states is None:
                raise ValueError("a cross-attention layer needs text states or cached keys and values")
            read = self.keys_values(attn, encoder_hidden_states)
        num_texts = read.keys_BMLE.shape[0]
        query_BSC = dense(attn.to_q, hidden_states).reshape(num_texts, -1, attn.to_q.out_features)
        read_BMSE = functional.scaled_dot_product_attention(
            split_heads(query_BSC, attn.heads), read.keys_BMLE, read.values_BMLE
        )
        return project_out(attn, read_BMSE.transpose(1, 2).reshape(*hidden_states.shape[:2], -1))


def spatial_cross_attentions(network: nn.Module) -> dict[str, AttentionLayer]:
    """Cross-attention layers by the name of their transformer ("down_blocks.0.attentions.1"), in forward order.

    Works on a whole UNet (16 layers at four levels) and on its encoder half (7 layers).
    """
    order = {"down_blocks": 0, "mid_block": 1, "up_blocks": 2}
    found: dict[str, AttentionLayer] = {}
    for name, module in network.named_modules():
        parts = name.split(".")
        if isinstance(module, Attention) and parts[-1] == "attn2" and "attentions" in parts and parts[0] in order:
            found[name.removesuffix(".transformer_blocks.0.attn2")] = cast(AttentionLayer, module)
    return dict(sorted(found.items(), key=lambda item: order[item[0].split(".")[0]]))


class SharedTextLayers:
    """One network's cross-attention layers: injects and ejects frame-shared processors, caches keys and values."""

    def __init__(self, network: nn.Module, mixers: Mapping[str, Mixer] | None = None) -> None:
        """Changes nothing before `inject`. `mixers` (APM): by layer name; layers without one attend to the text."""
        self._layers = spatial_cross_attentions(network)
        unknown = set(mixers or {}) - set(self._layers)
        if unknown:
            raise ValueError(f"no such cross-attention layers: {sorted(unknown)}")
        self._processors = {name: FrameSharedCrossAttention((mixers or {}).get(name)) for name in self._layers}
        self._originals: dict[str, Any] = {}  # diffusers' own processors

    @property
    def injected(self) -> bool:
        """Whether the network currently has these processors."""
        return bool(self._originals)

    def inject(self) -> "SharedTextLayers":
        """Replace the processors. The network then takes text states per batch item, repeated per frame or not."""
        if not self.injected:
            self._originals = {name: layer.get_processor() for name, layer in self._layers.items()}
            for name, layer in self._layers.items():
                layer.set_processor(self._processors[name])
        return self

    def eject(self) -> None:
        """Restore the original processors."""
        for name, processor in self._originals.items():
            self._layers[name].set_processor(processor)
        self._originals = {}

    def keys_values(self, states_BLD: Tensor) -> tuple[KeysValues, ...]:
        """Keys and values of every layer for these states; they depend on neither timestep nor frame."""
        return tuple(self._processors[name].keys_values(layer, states_BLD) for name, layer in self._layers.items())

    @contextmanager
    def use_cache(self, keys_values: tuple[KeysValues, ...]) -> Generator[None, None, None]:
        """Within the block, every layer uses these keys and values and ignores its text states.

        They may have been made with other mixers than those injected: several sets of mixers can share a network.
        """
        processors = [cast(FrameSharedCrossAttention, layer.get_processor()) for layer in self._layers.values()]
        for processor, cached in zip(processors, keys_values, strict=True):
            processor.cached = cached
        try:
            yield
        finally:
            for processor in processors:
                processor.cached = None


def repeat_per_frame(values: Tensor, num_frames: int) -> Tensor:
    """[B, ...] -> [B*F, ...], batch-major."""
    return torch.repeat_interleave(values, num_frames, dim=0)
