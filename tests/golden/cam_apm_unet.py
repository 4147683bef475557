"""Stem `cam_apm_unet`: one step of the network, with its features on the way, with and without CAM and APM.

Computed with the reference network (the published order of operations). The serving network is shown beside it and must
equal it in float64, where rounding hides nothing.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from core.model.engines.streaming_t2v.network import StreamingNetwork, predict_noise
from core.model.networks.base_network import predict_base, with_image_tokens
from tests.golden.networks import golden_network, in_float64
from tests.golden.report import Finding, largest_error
from tests.golden.stem import Stem
from tests.helpers.reference_network import ReferenceNetwork

SAME_IN_FLOAT64 = 1e-8
"""Bound for serving and reference network in float64: far above rounding, far below the effect of a wrong operation."""

_FEATURES = ("features",)
_PREDICTIONS = ("noise predictions", "predictions")


def run(stem: Stem) -> Iterator[Finding]:
    """Every stored tensor, then the serving network in float64."""
    network = golden_network(stem.folder)
    tokens = expanded(network, stem.given("in.image_embeds"))
    yield stem.finding("out.image_tokens", tokens, _FEATURES)
    yield from _features(stem, network, tokens)
    plain = ReferenceNetwork(network)
    for name, with_cam, with_apm in _predictions(stem):
        given = _inputs(stem, tokens, with_cam, with_apm)
        yield stem.finding(name, plain.predict(*given), _PREDICTIONS, _served(network, *given))
    in_float64(network)
    for which, both in (("cam_apm", True), ("plain", False)):
        given = _inputs(stem, tokens, both, both, torch.float64)
        error = largest_error(_served(network, *given), plain.predict(*given))
        yield Finding(f"{which}: serving against reference network, float64", error, SAME_IN_FLOAT64)


def expanded(network: StreamingNetwork, embeddings_BI: Tensor) -> Tensor:
    """Image tokens [B, K, D], one picture at a time as published."""
    return torch.cat([network.expander(embedding.unsqueeze(0)) for embedding in embeddings_BI])


def _features(stem: Stem, network: StreamingNetwork, tokens: Tensor) -> Iterator[Finding]:
    """CAM's and the merged features."""
    plain = ReferenceNetwork(network)
    latents, timestep, text, _, pictures = _inputs(stem, tokens, True, True)
    assert pictures is not None
    yield stem.finding("out.cond_embedding", network.cam.picture_encoder(pictures), _FEATURES)
    cam = plain.cam_features(latents, timestep, text, pictures)
    merged = plain.merge(plain.encode(latents, timestep, with_image_tokens(text, tokens)), cam)
    by_prefix = {"out.cam_down.": cam.skips_NCHW, "out.merged_skip.": merged.skips_NCHW}
    for name in sorted(stem.outputs(), key=_natural):
        for prefix, skips in by_prefix.items():
            if name.startswith(prefix):
                yield stem.finding(name, skips[int(name.removeprefix(prefix))], _FEATURES)
    yield stem.finding("out.cam_mid", cam.mid_NCHW, _FEATURES)
    yield stem.finding("out.merged_mid", merged.mid_NCHW, _FEATURES)


def _natural(name: str) -> tuple[str, int]:
    """Sort key: numbers at the end of a name count by value."""
    head, _, tail = name.rpartition(".")
    return (head, int(tail)) if tail.isdigit() else (name, 0)


def _predictions(stem: Stem) -> list[tuple[str, bool, bool]]:
    """Stored predictions as (name, CAM on, APM on)."""
    acting = {"cam_apm": (True, True), "cam_only": (True, False), "apm_only": (False, True), "plain": (False, False)}
    names = {f"out.noise_pred_{which}": parts for which, parts in acting.items()}
    return [(name, *parts) for name, parts in names.items() if name in stem.tensors]


Given = tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None]
"""Latents, timestep, text, image tokens or None, conditioning frames or None."""


def _inputs(stem: Stem, tokens: Tensor, with_cam: bool, with_apm: bool, dtype: torch.dtype = torch.float32) -> Given:
    return (
        stem.given("in.latents").to(dtype),
        stem.given("in.timestep"),
        stem.given("in.text_states").to(dtype),
        tokens.to(dtype) if with_apm else None,
        stem.given("in.cond_frames").to(dtype) if with_cam else None,
    )


def _served(
    network: StreamingNetwork,
    latents: Tensor,
    timestep: Tensor,
    text: Tensor,
    tokens: Tensor | None,
    pictures: Tensor | None,
) -> Tensor:
    """The same prediction by the serving network."""
    if pictures is None:
        return predict_base(network.unet, latents, timestep, with_image_tokens(text, tokens))
    unet, cam, mergers = network.unet, network.cam, network.mergers
    return predict_noise(unet, cam, mergers, latents, timestep, text, tokens, pictures)
