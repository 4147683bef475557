"""Rounding: how many threads share the work, and whether this machine rounds as the makers' did.

Float32 sums depend on the kernels that a processor gets and on how threads divide the work. The tiny network of the
numbers normalises over as few as two values, which magnifies that beyond the tolerances. So the runner computes with as
many threads as the makers of the numbers did, and says so where the processor rounds differently all the same.
"""

import hashlib
from collections.abc import Generator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn import functional

THREAD_COUNTS = (2, 1, 4)
"""Threads to compute with, the published numbers' first. Files do not tell theirs, so the others are tried after it."""
_PROBE = "b4be4424aa5a64f042ccacfc9b813045f264adbd9fc3f492db9f015088aea7ad"


@contextmanager
def threads(count: int) -> Generator[None, None, None]:
    """Within the block torch computes with this many threads, be there as many cores or not."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def rounds_as_published() -> bool:
    """Whether convolution, norm, matrix product and softmax give the very bits they gave on the makers' processor."""
    with threads(THREAD_COUNTS[0]), torch.inference_mode():
        return hashlib.sha256(_probe().numpy().tobytes()).hexdigest() == _PROBE


def _probe() -> Tensor:
    generator = torch.Generator("cpu").manual_seed(0)
    frames = torch.randn(32, 32, 8, 16, generator=generator)
    kernel = torch.randn(32, 32, 3, 3, generator=generator) / 17
    hidden = functional.group_norm(functional.conv2d(frames, kernel, padding=1), 32)
    tokens = functional.linear(hidden.flatten(2).transpose(1, 2), torch.randn(32, 32, generator=generator) / 6)
    return (tokens @ tokens.transpose(1, 2)).softmax(dim=-1) @ tokens
