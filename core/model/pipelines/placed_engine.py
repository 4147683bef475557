"""What the engines on diffusers' networks tell of themselves."""

import torch

from core.model.sampling.device import device_name
from core.service.domain.engine import Engine


class PlacedEngine(Engine):
    """An engine whose networks are on one device."""

    def __init__(self, device: torch.device, fingerprint: str) -> None:
        self._torch_device = device
        self._fingerprint = fingerprint

    @property
    def fingerprint(self) -> str:
        """What the bytes depend on besides the request: weights, device model, library versions, threads."""
        return self._fingerprint

    @property
    def device(self) -> str:
        """Device of the networks, for display."""
        return device_name(self._torch_device)
