"""What a UNet reads of a prompt that changes, and networks that wait in main memory."""

from __future__ import annotations

import pytest
import torch

from core.model.pipelines.loading import Placement
from core.model.pipelines.stable_diffusion import TextStates, on_device

CUDA = torch.device("cuda")


class Network:
    """Remembers where it was moved."""

    def __init__(self) -> None:
        self.moves: list[str] = []

    def to(self, device: torch.device) -> None:
        self.moves.append(device.type)


def test_networks_that_wait_in_main_memory_are_moved_for_their_use_only() -> None:
    one, other = Network(), Network()

    with on_device(Placement(CUDA, shares_gpu=True), one, other):
        assert (one.moves, other.moves) == (["cuda"], ["cuda"])

    assert (one.moves, other.moves) == (["cuda", "cpu"], ["cuda", "cpu"])


def test_networks_go_back_after_an_error() -> None:
    network = Network()

    with pytest.raises(RuntimeError), on_device(Placement(CUDA, shares_gpu=True), network):
        raise RuntimeError

    assert network.moves == ["cuda", "cpu"]


@pytest.mark.parametrize("placement", [Placement(CUDA, shares_gpu=False), Placement(torch.device("cpu"))])
def test_networks_that_stay_are_not_moved(placement: Placement) -> None:
    network = Network()

    with on_device(placement, network):
        pass

    assert network.moves == []


def test_a_text_goes_over_to_another_by_shares() -> None:
    old = TextStates(torch.zeros(1, 2, 3), torch.zeros(1, 4))
    new = TextStates(torch.ones(1, 2, 3), torch.ones(1, 4))

    between = old.toward(new, torch.tensor([0.0, 0.25, 1.0]))

    assert between.pooled_BE is not None
    assert between.states_BLD[:, 0, 0].tolist() == between.pooled_BE[:, 0].tolist() == [0.0, 0.25, 1.0]
    assert (between.states_BLD.shape, between.pooled_BE.shape) == ((3, 2, 3), (3, 4))
