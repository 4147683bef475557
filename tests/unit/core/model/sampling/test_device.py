"""The device that an engine computes on; a GPU that cannot be used is reported."""

from __future__ import annotations

import logging

import pytest
import torch

from core.model.sampling.device import select_device


@pytest.fixture(autouse=True)
def _without_a_gpu() -> None:  # pyright: ignore[reportUnusedFunction] - pytest calls it
    if torch.cuda.is_available():
        pytest.skip("there is a GPU: it is taken")


@pytest.mark.parametrize(("given", "said"), [("0", 1), ("MIG-ab", 1), ("", 0), ("-1", 0), (None, 0)])
def test_an_assigned_gpu_that_cannot_be_used_is_reported(
    given: str | None, said: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if given is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    with caplog.at_level(logging.ERROR, "core"):
        assert select_device(None) == torch.device("cpu")
    assert len(caplog.messages) == said


def test_a_device_that_is_named_is_taken() -> None:
    assert select_device("cuda:1") == torch.device("cuda:1")
