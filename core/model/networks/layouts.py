"""Reshaping between videos, frames, tokens of a frame and sequences along time.

For features in channels-last memory format, frames, tokens and videos are views of one another; only sequences along
time need a copy.

Shapes: B batch, C channels, F frames, H, W rows and columns, N = B*F (batch-major), Q = H*W pixels.
"""

from torch import Tensor


def frames_to_batch(video_BCFHW: Tensor) -> Tensor:
    """[B, C, F, H, W] -> [N, C, H, W]."""
    return video_BCFHW.transpose(1, 2).flatten(0, 1)


def batch_to_frames(frames_NCHW: Tensor, num_frames: int) -> Tensor:
    """[N, C, H, W] -> [B, C, F, H, W]."""
    return frames_NCHW.unflatten(0, (-1, num_frames)).transpose(1, 2)


def frames_to_tokens(frames_NCHW: Tensor) -> Tensor:
    """[N, C, H, W] -> [N, Q, C]."""
    return frames_NCHW.flatten(2).transpose(1, 2)


def tokens_to_frames(tokens_NQC: Tensor, height: int) -> Tensor:
    """[N, Q, C] -> [N, C, H, W]."""
    return tokens_NQC.transpose(1, 2).unflatten(2, (height, -1))


def frames_to_video(frames_NCHW: Tensor, num_frames: int) -> Tensor:
    """[N, C, H, W] -> [B, C, F, Q], so that temporal convolutions and norms are two-dimensional."""
    return batch_to_frames(frames_NCHW, num_frames).flatten(3)


def video_to_frames(video_BCFQ: Tensor, height: int) -> Tensor:
    """[B, C, F, Q] -> [N, C, H, W]."""
    return frames_to_batch(video_BCFQ.unflatten(3, (height, -1)))


def video_to_sequences(video_BCFQ: Tensor) -> Tensor:
    """[B, C, F, Q] -> [B*Q, F, C]: one sequence of frames per pixel."""
    return video_BCFQ.permute(0, 3, 2, 1).flatten(0, 1)


def sequences_to_video(sequences_SFC: Tensor, batch: int) -> Tensor:
    """[B*Q, F, C] -> [B, C, F, Q]."""
    return sequences_SFC.unflatten(0, (batch, -1)).permute(0, 3, 2, 1)
