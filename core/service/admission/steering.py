"""A change of a running job is checked as a new request would be: characters, words, tokens, what the model takes."""

from __future__ import annotations

from dataclasses import dataclass

from core.service.admission.admission import check_texts
from core.service.admission.catalog import Catalog
from core.service.admission.extension import read_new_prompt
from core.service.admission.length import checked_length, endless_limit_of, fix_of_null, require_open_length
from core.service.admission.limits import limit_of
from core.service.admission.refine_request import check_lockstep
from core.service.domain.schema import JobChange, JobSpec, JobWarning
from core.service.engines.preset import Preset
from core.service.settings import Settings


@dataclass(frozen=True)
class AdmittedChange:
    """A change with its prompt as the model reads it, and warnings about the prompt that was sent.

    `endless_limit`: frames at which a job that has no end any more ends."""

    change: JobChange
    endless_limit: int | None = None
    warnings: tuple[JobWarning, ...] = ()


def admit_change(change: JobChange, spec: JobSpec, catalog: Catalog, settings: Settings) -> AdmittedChange:
    """Whether a job with `spec` can have this. Raises a RequestError; its status is not looked at."""
    check_texts("metadata", change.metadata)
    limit = _endless_limit(change, spec, catalog.get(spec.model).preset, settings) if change.changes_length else None
    if change.prompt is None:
        return AdmittedChange(change, limit)
    prompt, warnings = read_new_prompt(change.prompt, catalog.get(spec.model), spec, "submit a new job")
    return AdmittedChange(change.model_copy(update={"prompt": prompt}), limit, warnings)


def _endless_limit(change: JobChange, spec: JobSpec, preset: Preset, settings: Settings) -> int | None:
    """The limit of a job that has no end any more; None for one that has a new length."""
    if spec.refine is not None:
        check_lockstep(spec.refine, change.num_frames, limit_of("max_lockstep_frames", preset, settings))
    if change.num_frames is None:
        return endless_limit_of(preset, spec, settings, fix_of_null(preset, spec))
    require_open_length(preset, spec, "submit a new job")
    least, most = preset.effective_limits.min_frames, limit_of("max_frames", preset, settings)
    checked_length("num_frames", change.num_frames, spec.fps, least, most)
    return None
