"""Samples of the image networks are made where the networks are. A device without memory stands for a GPU."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import numpy as np
import pytest
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor

from core.model.training import image_samples
from core.model.training.image_samples import Guidance, PictureMaker
from core.model.training.stages.base import TEXT_WIDTH
from core.model.training.stages.controlnet import edges_controlnet
from core.model.training.stages.editor import editor_unet
from core.model.training.stages.image2d import image_unet
from core.model.training.stages.vae import sprites_vae
from core.service.domain.engine import FramesTHWC

DEVICE = torch.device("meta")
CLIP = np.zeros((2, 64, 64, 3), np.uint8)

ModuleT = TypeVar("ModuleT", bound=torch.nn.Module)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[torch.device]:
    """Devices of the pictures that were made; their numbers do not exist."""
    devices: list[torch.device] = []

    def note(pictures: Tensor) -> FramesTHWC:
        devices.append(pictures.device)
        return np.zeros((*pictures.shape[:1], 64, 64, 3), np.uint8)

    monkeypatch.setattr(image_samples, "to_uint8", note)
    return devices


def built(builder: Callable[[], ModuleT]) -> ModuleT:
    with DEVICE:
        return builder()


def maker(unet: UNet2DConditionModel) -> PictureMaker:
    def encode_texts(texts: list[str]) -> Tensor:
        return torch.empty(len(texts), 32, TEXT_WIDTH, device=DEVICE)

    return PictureMaker(built(sprites_vae), encode_texts, unet, Guidance(steps=1))


def test_pictures_are_made_on_the_networks_device(decoded: list[torch.device]) -> None:
    maker(built(image_unet)).pictures(["a red square", "a blue circle"])
    assert decoded == [DEVICE]


def test_edges_are_followed_on_the_networks_device(decoded: list[torch.device]) -> None:
    unet = built(image_unet)
    maker(unet).controlled(built(partial(edges_controlnet, unet)), "a red square", CLIP)
    assert decoded == [DEVICE]


def test_a_clip_is_edited_on_the_networks_device(decoded: list[torch.device]) -> None:
    maker(built(editor_unet)).edited("make it blue", CLIP)
    assert decoded == [DEVICE]
