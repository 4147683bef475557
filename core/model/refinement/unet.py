"""The refiner's UNet: diffusers' UNet3DConditionModel with the resampling of MS-Vid2Vid-XL.

Going down, the convolution is padded by two rows above and below, so H becomes floor((H + 1) / 2) + 1; going up, a
doubled picture loses its first and last row. Weights and their names stay diffusers' own. Which latent sizes fit is
worked out here, too. Knows no window, no solver and no text encoder.

Shapes: N frames, C channels, H, W latent rows and columns.
"""

from typing import Any, cast

from diffusers.models.unets.unet_3d_condition import UNet3DConditionModel
from torch import Tensor, nn
from torch.nn import functional

_ROW_PADDING, _COLUMN_PADDING = 2, 1


class CroppedUpsample(nn.Module):
    """Doubles by repeating pixels, cuts rows off both ends until the asked size is reached, convolves."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        """`convolution` is the one of the layer that this stands in for."""
        super().__init__()
        self.conv = convolution

    def forward(self, frames_NCHW: Tensor, output_size: tuple[int, int]) -> Tensor:
        """[N, C, H, W] -> [N, C, 2H - 2, 2W]."""
        doubled_NCHW = functional.interpolate(frames_NCHW, scale_factor=2.0, mode="nearest")
        cut = (doubled_NCHW.shape[2] - output_size[0]) // 2
        out_NCHW: Tensor = self.conv(doubled_NCHW[:, :, cut : cut + output_size[0]])
        return out_NCHW


def with_vid2vid_resampling(unet: UNet3DConditionModel) -> UNet3DConditionModel:
    """`unet` itself, its resampling changed to the refiner's."""
    for block in unet.down_blocks:
        for downsampler in cast(Any, block).downsamplers or ():
            downsampler.conv.padding = (_ROW_PADDING, _COLUMN_PADDING)
    for block in unet.up_blocks:
        layers = cast(Any, block).upsamplers
        if layers is not None:
            layers[0] = CroppedUpsample(layers[0].conv)
    return unet


def nearest_latent_size(height: int, width: int, num_levels: int, *, vid2vid: bool) -> tuple[int, int]:
    """The smallest latent size (rows, columns) that is no smaller and that the network takes.

    Every level must halve without remainder on the way down to be met again on the way up.
    """
    columns = 2 ** (num_levels - 1)
    rows = height if vid2vid else -(-height // columns) * columns
    while vid2vid and not _rows_fit(rows, num_levels):
        rows += 1
    return rows, -(-width // columns) * columns


def _rows_fit(rows: int, num_levels: int) -> bool:
    """Whether `rows` can be halved with the refiner's padding, level by level, and be reached again by doubling."""
    for _ in range(num_levels - 1):
        below = (rows + 1) // 2 + 1
        if 2 * below - 2 != rows:
            return False
        rows = below
    return True
