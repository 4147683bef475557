"""An engine for Longtake with windows of its own: clouds that drift and change, without end. Needs no weights."""

from __future__ import annotations

from pathlib import Path

from core.model.pipelines.preset import PipelinePreset
from core.service.domain.engine import Engine
from core.service.engines.capabilities import Capabilities, WindowLengths
from core.service.engines.definition import EngineDefinition
from core.service.engines.load_context import LoadContext
from core.service.engines.tokenizer import WordCounter

WINDOWS = WindowLengths.repeating(14)
"""Windows of 14 frames; each later one begins with the last frame of the one before."""


class CloudsPreset(PipelinePreset):
    """preset.json: steps and guidance, as every PipelinePreset has them."""

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            fields=("seed", "fps", "num_inference_steps"), prompt="no", reseeds=True, endless=True, windows=WINDOWS
        )


def load(context: LoadContext[CloudsPreset]) -> Engine:
    from longtake_clouds.engine import Clouds  # imports torch

    return Clouds(context.preset.height, context.preset.width)


CLOUDS = EngineDefinition(
    name="clouds",
    preset=CloudsPreset,
    load=load,
    tokenizer=WordCounter,
    presets_dir=Path(__file__).parent / "presets",
)
