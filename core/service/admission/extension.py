"""What is added to an ended job is checked as a new request would be: length, prompt, what the model can do."""

from __future__ import annotations

from dataclasses import dataclass

from core.service.admission.admission import check_refiner, check_texts
from core.service.admission.catalog import Catalog, PresetFolder
from core.service.admission.limits import limit_of
from core.service.admission.prompts import read_prompt, require_prompt_changes
from core.service.domain.errors import FieldNotSupported, TooFewFrames, TooManyFrames
from core.service.domain.schema import JobExtension, JobRecord, JobSpec, JobWarning
from core.service.engines.preset import Preset
from core.service.settings import Settings


@dataclass(frozen=True)
class AdmittedExtension:
    """An extension with its prompt as the model reads it, and warnings about the prompt that was sent."""

    extension: JobExtension
    warnings: tuple[JobWarning, ...] = ()


def admit_extension(
    extension: JobExtension, record: JobRecord, catalog: Catalog, settings: Settings
) -> AdmittedExtension:
    """Whether a job can have so many more frames. Raises a RequestError; its status is not looked at."""
    folder = catalog.get(record.spec.model)
    require_free_length(folder, record.spec, "submit a job with the whole length")
    _check_sum(extension.num_frames, record.frames_done, folder.preset, settings)
    if extension.prompt is None:
        return AdmittedExtension(extension)
    prompt, warnings = read_new_prompt(extension.prompt, folder, record.spec, "leave it out")
    return AdmittedExtension(extension.model_copy(update={"prompt": prompt}), warnings)


def _check_sum(added: int, made: int, preset: Preset, settings: Settings) -> None:
    """Raises TooFewFrames or TooManyFrames for `added` frames after `made`."""
    least, limit = preset.effective_limits.min_frames, limit_of("max_frames", preset, settings)
    most = limit.most - made
    if added > most:
        message = f"the job has {made} frames; {limit.most} are allowed here, {limit.set_by}"
        fix = f"give at most {most}" if most > 0 else "branch it from an earlier chunk, or submit a new job"
        raise TooManyFrames(message, field="num_frames", fix=fix)
    if made + added < least:
        message = f"the job has {made} frames and would have {made + added}; a video has at least {least}"
        raise TooFewFrames(message, field="num_frames", fix=f"give at least {least - made}")


def require_free_length(folder: PresetFolder, spec: JobSpec, fix: str) -> None:
    """Raises FieldNotSupported if frames of the job depend on its length."""
    if not folder.preset.capabilities.has_open_length(spec):
        message = f"frames that {folder.preset.name} makes depend on the length of the video, which is chosen once"
        raise FieldNotSupported(message, field="num_frames", fix=fix)


def read_new_prompt(prompt: str, folder: PresetFolder, spec: JobSpec, fix: str) -> tuple[str, tuple[JobWarning, ...]]:
    """A prompt for frames after those that exist, as the model reads it, and the warnings. Raises a RequestError, with
    `fix` if the model's prompts cannot change."""
    check_texts("prompt", prompt)
    require_prompt_changes(folder, "prompt", fix)
    read = read_prompt(prompt, folder)
    if spec.refine is not None:
        check_refiner("prompt", read.text, folder)
    return read.text, read.warnings
