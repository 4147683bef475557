"""Stem `refiner_unet`: the refiner's network at its odd sizes, with the weights of the base UNet in `cam_apm_unet`."""

from collections.abc import Iterator
from typing import Any

from diffusers.models.unets.unet_3d_condition import UNet3DConditionModel

from core.model.networks.base_network import UntouchedBase, predict_base
from core.model.refinement.unet import with_vid2vid_resampling
from tests.golden.cam_apm_unet import SAME_IN_FLOAT64
from tests.golden.folder import NETWORK_STEM, GoldenError
from tests.golden.report import Finding, largest_error
from tests.golden.stem import Stem
from tests.helpers.reference_network import predict_base_reference

_ROW_AND_COLUMN_PADDING = [2, 1]
_TRANSFORMER_IN_HEADS = 8


def run(stem: Stem) -> Iterator[Finding]:
    """The prediction, by the reference and by the serving network."""
    network_stem = Stem.open(stem.folder, NETWORK_STEM)
    unet = _unet(stem, network_stem)
    given = (stem.given("in.latents"), stem.given("in.timestep"), network_stem.given("in.text_states"))
    plain = predict_base_reference(unet, *given)
    served = predict_base(UntouchedBase(unet).unet, *given)
    yield stem.finding("out.v_pred", plain, serving=served)
    latents, timestep, text = (part.double() if part.is_floating_point() else part for part in given)
    unet.double()
    error = largest_error(
        predict_base(unet, latents, timestep, text), predict_base_reference(unet, latents, timestep, text)
    )
    yield Finding("v_pred: serving against reference network, float64", error, SAME_IN_FLOAT64)


def _unet(stem: Stem, network_stem: Stem) -> UNet3DConditionModel:
    """The refiner's UNet of these constants, under diffusers' names."""
    unet = UNet3DConditionModel(**_sizes(stem.config, network_stem.config))
    weights = stem.folder.network_weights()
    try:
        unet.load_state_dict({name: weights[f"base_model.{name}"] for name in unet.state_dict()})
    except (KeyError, RuntimeError) as error:
        raise GoldenError(f"the weights do not fit {stem.name}.json: {error}") from error
    return with_vid2vid_resampling(unet).eval()


def _sizes(config: dict[str, Any], network_config: dict[str, Any]) -> dict[str, Any]:
    if config["downsample_padding"] != _ROW_AND_COLUMN_PADDING or config["num_heads"] != _TRANSFORMER_IN_HEADS:
        raise GoldenError(f"refiner_unet.json: only a padding of (2, 1) and 8 heads are followed, not {config}")
    # Attention at the sidecar's resolution scales: 1, 1/2, 1/4, ...
    attending = [0.5**level in config["attn_scales"] for level in range(len(config["dim_mult"]))]
    return {
        "in_channels": network_config["in_channels"],
        "out_channels": network_config["out_channels"],
        "block_out_channels": tuple(config["dim"] * factor for factor in config["dim_mult"]),
        "layers_per_block": config["num_res_blocks"],
        "attention_head_dim": config["head_dim"],
        "cross_attention_dim": network_config["cross_attention_dim"],
        "norm_num_groups": network_config["norm_num_groups"],
        "down_block_types": tuple("CrossAttnDownBlock3D" if here else "DownBlock3D" for here in attending),
        "up_block_types": tuple("CrossAttnUpBlock3D" if here else "UpBlock3D" for here in reversed(attending)),
    }
