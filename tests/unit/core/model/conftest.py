"""What the model tests share: one compute thread, and the small network of the reference numbers.

The weights of the reference numbers are made from their rule (tests/references/README.md), not stored.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.unets.unet_3d_condition import UNet3DConditionModel
from safetensors.torch import load_file
from torch import Tensor, nn

from core.model.engines.streaming_t2v.apm import ApmMixers, TokenExpander
from core.model.engines.streaming_t2v.cam import CamFeatureExtractor, CamMergers
from core.model.engines.streaming_t2v.network import StreamingNetwork
from core.service.domain.engine import Engine
from tests.golden import networks
from tests.golden.folder import GoldenFolder

REFERENCES = Path(__file__).parents[3] / "references"


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:  # pyright: ignore[reportUnusedFunction] - pytest calls it
    """Summation order, hence rounding, follows the number of threads."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def references() -> Path:
    """Folder of the reference numbers."""
    return REFERENCES


@pytest.fixture(scope="session")
def golden_io() -> dict[str, Tensor]:
    """Inputs and outputs of the reference network."""
    return load_file(REFERENCES / "cam_apm_unet.io.safetensors")


@pytest.fixture(scope="session")
def golden_weights() -> dict[str, Tensor]:
    """The reference network's weights under the official key names, made by weights_rule.json."""
    return GoldenFolder(REFERENCES).network_weights()


@pytest.fixture(scope="session")
def golden_network() -> StreamingNetwork:
    """The reference network, loaded through the official key names."""
    return networks.golden_network(GoldenFolder(REFERENCES))


@pytest.fixture(scope="module")
def resuming(engine: Engine) -> Engine:
    """The engine of the process that goes on with a job (tests/helpers/engine_contract.py). Modules whose engine loads
    weights have one that is loaded anew."""
    return engine


def build_network(
    unet_sizes: dict[str, Any],
    picture_channels: list[int],
    *,
    num_text_tokens: int,
    num_image_tokens: int,
    embedding_width: int,
    expander_width: int,
) -> StreamingNetwork:
    """A network with fresh random weights, in evaluation mode."""
    unet = UNet3DConditionModel(**unet_sizes)
    config = dict(unet.config)
    network = StreamingNetwork(
        unet,
        CamFeatureExtractor.from_unet(unet, picture_channels),
        CamMergers.for_unet(config),
        ApmMixers.for_unet(unet, num_text_tokens, num_image_tokens),
        TokenExpander(embedding_width, expander_width, num_image_tokens, config["cross_attention_dim"]),
    )
    for part in network.parts.values():
        part.eval()
    return network


@pytest.fixture
def tiny_network() -> StreamingNetwork:
    """A network of a small preset's shape: two widths, short text, few image tokens, nothing left at zero."""
    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "block_out_channels": (8, 16, 16, 16),
        "attention_head_dim": 4,
        "cross_attention_dim": 12,
        "norm_num_groups": 4,
    }
    return _small_network(sizes)


@pytest.fixture
def two_level_network() -> StreamingNetwork:
    """Half the levels and layers of `tiny_network`: for what takes long per layer."""
    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "block_out_channels": (8, 16),
        "down_block_types": ("CrossAttnDownBlock3D", "DownBlock3D"),
        "up_block_types": ("UpBlock3D", "CrossAttnUpBlock3D"),
        "layers_per_block": 1,
        "attention_head_dim": 4,
        "cross_attention_dim": 12,
        "norm_num_groups": 4,
    }
    return _small_network(sizes)


def _small_network(sizes: dict[str, Any]) -> StreamingNetwork:
    network = build_network(
        sizes, [4, 4, 6, 8], num_text_tokens=6, num_image_tokens=3, embedding_width=10, expander_width=5
    )
    for part in network.parts.values():
        _unzero(part)
    return network


def _unzero(part: nn.Module) -> None:
    """Random values where a fresh module has zeros, so that no path is switched off."""
    with torch.no_grad():
        for weight in part.parameters():
            if not weight.any():
                weight.normal_(std=0.2)
