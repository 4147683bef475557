"""Loads image-to-video pipelines and the image model, and checks that the networks take the preset's sizes."""

from collections.abc import Callable
from typing import Any, TypeVar

from core.model.pipelines.image_model import ImageGenerator, fetch_image_model, load_image_model
from core.model.pipelines.image_windows import ImageVideoModel
from core.model.pipelines.loading import Placement, load_folder, prepare
from core.model.pipelines.preset import ImageVideoPreset
from core.model.pipelines.sizes import nearest_multiple
from core.model.presets.fingerprint import pipeline_fingerprint
from core.service.domain.errors import PresetError
from core.service.engines.load_context import LoadContext

PIPELINE_MULTIPLE = 8
"""Of both sides, in pixels: other sizes are refused by the library's pipelines, whatever their networks."""

PresetT = TypeVar("PresetT", bound=ImageVideoPreset)


def load_image_video_model(
    context: LoadContext[PresetT], kind: Any, multiple_of: Callable[[Any], int], device: str | None = None
) -> ImageVideoModel:
    """The pipeline of class `kind` of a weights folder. Raises PresetError naming what is wrong.

    `multiple_of`: what both sides of a frame must be a multiple of, in pixels, for a pipeline.
    """
    preset = context.preset
    placement = prepare(context, device)
    own = placement.device
    pipeline = load_folder(f"the model {preset.name}", kind, context.weights, placement)
    check_size(preset, multiple_of(pipeline))
    if preset.image_model is None:
        return ImageVideoModel(pipeline, preset, own, pipeline_fingerprint(context, own))
    generator, digest = _image_generator(preset.image_model, placement)
    line = pipeline_fingerprint(context, own, f"image model {preset.image_model} {digest}")
    return ImageVideoModel(pipeline, preset, own, line, generator)


def check_size(preset: ImageVideoPreset, multiple: int) -> None:
    """Raise PresetError unless the networks take the preset's size and the sizes of its requests."""
    nearest = [nearest_multiple(side, multiple) for side in (preset.width, preset.height)]
    if [preset.width, preset.height] != nearest:
        raise PresetError(
            f"{preset.name}: its networks take sides that are multiples of {multiple}, not {preset.width}x"
            f"{preset.height}",
            fix=f"set width and height in preset.json to {nearest[0]} and {nearest[1]}",
        )
    if preset.size is not None and preset.size.multiple_of % multiple:
        raise PresetError(
            f"{preset.name}: size.multiple_of is {preset.size.multiple_of}, and its networks need a multiple of "
            f"{multiple}",
            fix=f"set size.multiple_of in preset.json to {multiple}",
        )


def _image_generator(repository: str, placement: Placement) -> tuple[ImageGenerator, str]:
    """An image model that shares the GPU with the video model, and what identifies it."""
    shared = Placement(placement.device, placement.long_work, placement.gpu_dtype)
    digest = fetch_image_model(repository, shared)
    return ImageGenerator(lambda: load_image_model(repository, shared)), digest
