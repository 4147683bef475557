"""The networks of a golden folder, built from its constants and loaded through the official key names.

Constants that the published networks fix, and ours with them, are checked rather than set. Knows no case.
"""

from typing import Any

from diffusers.models.unets.unet_3d_condition import UNet3DConditionModel

from core.model.engines.streaming_t2v.apm import ApmMixers, TokenExpander
from core.model.engines.streaming_t2v.cam import CamFeatureExtractor, CamMergers
from core.model.engines.streaming_t2v.checkpoint import from_official
from core.model.engines.streaming_t2v.network import StreamingNetwork
from core.model.networks.unet_halves import skip_channels
from tests.golden.folder import NETWORK_STEM, GoldenError, GoldenFolder

_FIXED = {
    "transformer_in_heads": 8,
    "apm_layernorm_eps": 1e-5,
    "transformer_groupnorm_eps": 1e-6,
    "merger_groupnorm_eps": 1e-6,
}


def golden_network(folder: GoldenFolder) -> StreamingNetwork:
    """The folder's network, in evaluation mode. Raises GoldenError if weights and constants do not fit.

    Its weights require gradients, as for the published numbers, so build it outside inference mode: without gradients
    torch folds the batch of a matrix product differently, which rounds differently.
    """
    config: dict[str, Any] = folder.sidecar(NETWORK_STEM)["config"]
    for name, value in _FIXED.items():
        if config.get(name, value) != value:
            raise GoldenError(f"{NETWORK_STEM}.json: {name} is {config[name]}; this code has {value}")
    weights = folder.network_weights()
    network = build_network(config, weights["resampler.context_embedding.0.weight"].shape[1])
    try:
        parts = from_official(weights, network.mixers.layer_names)
        for name, part in network.parts.items():
            part.load_state_dict(getattr(parts, name))
            part.eval()
    except (RuntimeError, ValueError) as error:
        raise GoldenError(f"the weights do not fit {NETWORK_STEM}.json: {error}") from error
    return network


def build_network(config: dict[str, Any], embedding_width: int) -> StreamingNetwork:
    """A network of a sidecar's constants, freshly initialised. `embedding_width`: of the image encoder."""
    unet = UNet3DConditionModel(**_unet_sizes(config))
    widths = config["block_out_channels"]
    skips = skip_channels(widths, config["layers_per_block"])
    tokens, width = config["image_tokens"], config["cross_attention_dim"]
    return StreamingNetwork(
        unet,
        CamFeatureExtractor(dict(unet.config), config["cond_embedding_channels"], config["cam_frames"]),
        CamMergers(skips, widths[-1], config["merger_head_dim"], config["norm_num_groups"]),
        ApmMixers.for_unet(unet, config["text_tokens"], tokens),
        TokenExpander(embedding_width, config["resampler_inner_dim"], tokens, width),
    )


def _unet_sizes(config: dict[str, Any]) -> dict[str, Any]:
    """Constants under diffusers' names."""
    same = (
        "in_channels",
        "out_channels",
        "layers_per_block",
        "norm_num_groups",
        "norm_eps",
        "cross_attention_dim",
        "attention_head_dim",
    )
    lists = ("block_out_channels", "down_block_types", "up_block_types")
    sizes: dict[str, Any] = {name: config[name] for name in same} | {name: tuple(config[name]) for name in lists}
    return sizes | {"act_fn": config["act"]}


def in_float64(network: StreamingNetwork) -> StreamingNetwork:
    """The same network, its weights made double in place."""
    for part in network.parts.values():
        part.double()
    return network
