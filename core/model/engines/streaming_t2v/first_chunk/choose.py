"""Loads the configured first-chunk source. A source's pipelines are imported only if it is chosen."""

import torch

from core.model.engines.streaming_t2v.first_chunk.source import FirstChunkSource
from core.model.pipelines.loading import Placement
from core.service.domain.engine import LongWork, unannounced
from core.service.domain.first_chunk_sources import SourceChoice


def load_source(
    choice: SourceChoice, height: int, width: int, device: torch.device, long_work: LongWork = unannounced
) -> FirstChunkSource | None:
    """The source for a preset of this size in pixels; None for the preset's base UNet. Raises PresetError.

    `long_work`: a context manager around loading, which some sources do in part at their first use.
    """
    placement = Placement(device, long_work)
    if choice.kind == "animatediff":
        from core.model.engines.streaming_t2v.first_chunk.animatediff import load_animatediff

        return load_animatediff(height, width, placement)
    if choice.kind == "svd":
        from core.model.engines.streaming_t2v.first_chunk.svd import load_svd

        return load_svd(height, width, placement)
    if choice.kind == "diffusers":
        from core.model.engines.streaming_t2v.first_chunk.text_to_video import load_text_to_video

        return load_text_to_video(choice.repository, height, width, placement)
    return None
