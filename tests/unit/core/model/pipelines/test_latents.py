"""Latents in states: what 16 bits cannot hold is refused, what they can is kept exactly."""

from __future__ import annotations

import pytest
import torch

from core.model.pipelines.latents import to_array, to_tensor
from core.service.domain.errors import NotFinite
from tests.helpers.poison import INFINITY, NAN


@pytest.mark.parametrize("value", [NAN, INFINITY, 70_000.0])
def test_latents_that_float16_cannot_hold_are_refused(value: float) -> None:
    latents = torch.zeros(1, 2, 3, 4, 5)
    latents[0, 1, 2, 3, 4] = value

    with pytest.raises(NotFinite, match="chunk 3, window: "):
        to_array(latents, "chunk 3")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_latents_are_kept_exactly(dtype: torch.dtype) -> None:
    latents = torch.randn(1, 2, 3, 4, 5, generator=torch.Generator().manual_seed(0)).to(dtype)

    array = to_array(latents, "chunk 0")

    assert array.itemsize == 2
    assert torch.equal(to_tensor(array, torch.device("cpu")).to(dtype), latents)
