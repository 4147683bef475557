"""The refiner's UNet: diffusers' UNet3DConditionModel with the resampling of MS-Vid2Vid-XL.

Downsampling pads two rows above and below, so H becomes floor((H + 1) / 2) + 1; upsampling crops the first and last
row. Weights and their names are diffusers' own.

Shapes: N frames, C channels, H, W latent rows and columns.
"""

from typing import Any, cast

from diffusers.models.unets.unet_3d_condition import UNet3DConditionModel
from torch import Tensor, nn
from torch.nn import functional

_ROW_PADDING, _COLUMN_PADDING = 2, 1


class CroppedUpsample(nn.Module):
    """Nearest-neighbour upsampling by 2, cropping of rows to the output size, convolution."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        """`convolution`: that of the layer to replace."""
        super().__init__()
        self.conv = convolution

    def forward(self, frames_NCHW: Tensor, output_size: tuple[int, int]) -> Tensor:
        """[N, C, H, W] -> [N, C, 2H - 2, 2W]."""
        doubled_NCHW = functional.interpolate(frames_NCHW, scale_factor=2.0, mode="nearest")
        cut = (doubled_NCHW.shape[2] - output_size[0]) // 2
        out_NCHW: Tensor = self.conv(doubled_NCHW[:, :, cut : cut + output_size[0]])
        return out_NCHW


def with_vid2vid_resampling(unet: UNet3DConditionModel) -> UNet3DConditionModel:
    """Change the resampling of `unet` in place; returns `unet`."""
    for block in unet.down_blocks:
        for downsampler in cast(Any, block).downsamplers or ():
            downsampler.conv.padding = (_ROW_PADDING, _COLUMN_PADDING)
    for block in unet.up_blocks:
        layers = cast(Any, block).upsamplers
        if layers is not None:
            layers[0] = CroppedUpsample(layers[0].conv)
    return unet


def nearest_latent_size(height: int, width: int, num_levels: int, *, vid2vid: bool) -> tuple[int, int]:
    """The smallest (rows, columns) >= (height, width) that the network accepts.

    Upsampling must reproduce the size of every level.
    """
    columns = 2 ** (num_levels - 1)
    rows = height if vid2vid else -(-height // columns) * columns
    while vid2vid and not _rows_fit(rows, num_levels):
        rows += 1
    return rows, -(-width // columns) * columns


def _rows_fit(rows: int, num_levels: int) -> bool:
    """Whether downsampling with the refiner's padding and upsampling reproduce `rows` at every level."""
    for _ in range(num_levels - 1):
        below = (rows + 1) // 2 + 1
        if 2 * below - 2 != rows:
            return False
        rows = below
    return True
