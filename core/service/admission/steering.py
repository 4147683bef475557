"""A change of a running job is checked as a new request would be: characters, words, tokens, what the model takes."""

from __future__ import annotations

from dataclasses import dataclass

from core.service.admission.admission import check_refiner, check_texts
from core.service.admission.catalog import Catalog
from core.service.admission.prompts import read_prompt, require_prompt_changes
from core.service.domain.schema import JobChange, JobSpec, JobWarning


@dataclass(frozen=True)
class AdmittedChange:
    """A change with its prompt as the model reads it, and warnings about the prompt that was sent."""

    change: JobChange
    warnings: tuple[JobWarning, ...] = ()


def admit_change(change: JobChange, spec: JobSpec, catalog: Catalog) -> AdmittedChange:
    """Whether a job with `spec` can have this. Raises a RequestError; its status is not looked at."""
    check_texts("metadata", change.metadata)
    check_texts("prompt", change.prompt)
    if change.prompt is None:
        return AdmittedChange(change)
    folder = catalog.get(spec.model)
    require_prompt_changes(folder, "prompt", "submit a new job")
    read = read_prompt(change.prompt, folder)
    if spec.refine is not None:
        check_refiner("prompt", read.text, folder)
    return AdmittedChange(change.model_copy(update={"prompt": read.text}), read.warnings)
