"""The registry's entry of the engine `svd`. Torch-free: only `load` imports torch."""

from pydantic import Field

from core.model.engines.svd.preset import SvdPreset
from core.service.domain.engine import Engine
from core.service.engines.definition import EngineDefinition, Parameters
from core.service.engines.load_context import LoadContext
from core.service.engines.tokenizer import WordCounter


class SvdParameters(Parameters):
    """`parameters` of a request. Defaults are the library's."""

    motion_bucket_id: int = Field(default=127, ge=1, le=255, description="How much moves: more with larger values.")
    noise_aug_strength: float = Field(
        default=0.02,
        ge=0.0,
        le=1.0,
        description="Noise added to the frame that a window begins with: more frees the video from it.",
    )


def _load(context: LoadContext[SvdPreset]) -> Engine:
    from core.model.engines.svd.loading import load_engine_of

    return load_engine_of(context)


SVD = EngineDefinition("svd", SvdPreset, _load, SvdParameters, WordCounter)
