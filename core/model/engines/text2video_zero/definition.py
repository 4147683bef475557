"""The registry's entry of the engine `text2video_zero`. Torch-free: only `load` imports torch."""

from core.model.engines.text2video_zero.parameters import TextToVideoZeroParameters
from core.model.engines.text2video_zero.preset import TextToVideoZeroPreset
from core.quick_imports import quick_imports
from core.service.domain.engine import Engine
from core.service.engines.definition import EngineDefinition
from core.service.engines.load_context import LoadContext


def _load(context: LoadContext[TextToVideoZeroPreset]) -> Engine:
    with quick_imports():
        from core.model.engines.text2video_zero.loading import load_engine_of

    return load_engine_of(context)


TEXT2VIDEO_ZERO = EngineDefinition(
    "text2video_zero", TextToVideoZeroPreset, _load, parameters=TextToVideoZeroParameters
)
