"""Bodies of /v1/videos, and the job requests that they become."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import Field, StringConstraints, WithJsonSchema

from core.service.admission.catalog import Catalog, PresetFolder
from core.service.admission.limits import refine_limits
from core.service.admission.refine_request import possible_sizes
from core.service.domain.errors import InvalidField, shortened
from core.service.domain.schema import Frozen, JobRecord, JobRequest, RefineOptions, RefineSpec, SizeText
from core.service.domain.schema.request import MAX_SEED, Prompt
from core.service.settings import Settings

SECONDS = r"\d{1,9}(\.\d{1,9})?"
Seconds = Annotated[
    object,
    WithJsonSchema(
        {"anyOf": [{"type": "string", "pattern": f"^{SECONDS}$"}, {"type": "number", "exclusiveMinimum": 0}]}
    ),
]
"""OpenAI's package sends texts such as "4"."""
REMIXED_FROM = "remixed_from_video_id"
"""Key of a remix's metadata."""
_ALWAYS_KEPT = ("model", "num_frames", "parameters", "image", "video", "control")
"""Fields of a source's spec that its remix has too, beside those of the engine."""


class ImageReference(Frozen):
    """The first frame of the video: one of the two."""

    image_url: str | None = Field(default=None, description="An http(s) URL, or a base64 data URL of an image.")
    file_id: Annotated[str, StringConstraints(max_length=64)] | None = Field(
        default=None, description="Id of an upload of `POST /uploads`."
    )


class VideoRequest(Frozen):
    """Body of POST /v1/videos."""

    prompt: Prompt = Field(
        description="What the video shows.", examples=["a red circle moving left over a striped background"]
    )
    model: str | None = Field(default=None, description="An id from GET /v1/models. Default: the service's.")
    seconds: Seconds = Field(default=None, description="Length. Default: the service's.", examples=["4"])
    size: SizeText | None = Field(
        default=None,
        description="WIDTHxHEIGHT: the model's own, one to which it refines, or another that it makes. Default: the"
        " model's own.",
    )
    input_reference: ImageReference | None = Field(
        default=None, description="An image that is the first frame. In multipart/form-data it may be a file."
    )


class RemixRequest(Frozen):
    """Body of POST /v1/videos/{id}/remix."""

    prompt: Prompt = Field(
        description="What the new video shows.", examples=["a blue circle moving left over a striped background"]
    )


def job_request_of(asked: VideoRequest, catalog: Catalog, settings: Settings) -> JobRequest:
    """The job that makes the video. Raises UnknownModel, InvalidField, PresetError."""
    folder, reference = (
        catalog.get(settings.default_model if asked.model is None else asked.model),
        asked.input_reference,
    )
    return JobRequest(
        prompt=asked.prompt,
        model=asked.model,
        seconds=_seconds(asked.seconds),
        **_size(asked.size, folder, settings),
        image=reference and (reference.image_url or reference.file_id),
    )


def sizes_of(folder: PresetFolder, settings: Settings) -> list[str]:
    """The model's own size, as WIDTHxHEIGHT, and those to which it refines."""
    preset = folder.preset
    sizes = [(preset.width, preset.height)]
    if preset.refiner is not None and folder.refines:
        most = refine_limits(preset, preset.refiner, settings).pixels.most
        sizes += possible_sizes(preset, preset.refiner, most)
    return list(dict.fromkeys(f"{width}x{height}" for width, height in sizes))


def _size(size: str | None, folder: PresetFolder, settings: Settings) -> dict[str, Any]:
    """The fields of a job with this size; one that is made directly is checked by admission. Raises InvalidField that
    names the possible sizes."""
    own, *refined = sizes_of(folder, settings)
    if size in refined:
        return {"refine": RefineOptions(size=size)}
    if size in {None, own} or folder.preset.capabilities.size is not None:
        return {"size": size}
    message = f"{folder.preset.name} makes no videos of {size}"
    raise InvalidField(message, field="size", fix=f"give one of {', '.join((own, *refined))}")


def _seconds(value: object) -> float | None:
    """Raises InvalidField. Whether the model makes videos of this length is checked with all else of the job."""
    if value is None:
        return None
    text = repr(value) if isinstance(value, int | float) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not re.fullmatch(SECONDS, text, re.ASCII) or not float(text):
        message = f"seconds is {shortened(str(value), 40)}, not a number of seconds above 0"
        raise InvalidField(message, field="seconds", fix='give a number, such as "4"')
    return float(text)


def remix_of(source: JobRecord, prompt: str, catalog: Catalog) -> JobRequest:
    """The same video with another prompt: same seed, length, size, sampling and input media. Raises UnknownModel."""
    spec = source.spec
    preset = catalog.get(spec.model).preset
    takes = set(preset.capabilities.fields)
    if spec.seed > MAX_SEED:  # of an older version
        takes -= {"seed"}
    idle = set(preset.idle_parameters(has_video=spec.video is not None, has_control=spec.control is not None))
    # An older version stored parameters that would do nothing.
    stored = spec.model_dump(mode="json", exclude={"parameters": idle})
    same = {name: stored[name] for name in (*_ALWAYS_KEPT, *takes) if stored[name] is not None}
    changed = {"prompt": prompt, "refine": _options_of(spec.refine), "metadata": {REMIXED_FROM: source.id}}
    open_end = {"num_frames": None} if spec.is_endless else {}
    size = {"size": f"{spec.width}x{spec.height}"} if spec.height is not None else {}
    return JobRequest.model_validate({**same, **open_end, **size, **changed})


def _options_of(refine: RefineSpec | None) -> RefineOptions | None:
    return refine and RefineOptions(
        strength=refine.strength,
        steps=refine.num_inference_steps,
        guidance_scale=refine.guidance_scale,
        size=f"{refine.width}x{refine.height}",
        schedule=refine.schedule,
    )
