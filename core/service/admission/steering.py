"""A change of a running job is checked as a new request would be: characters, words, tokens, what the model takes."""

from __future__ import annotations

from dataclasses import dataclass

from core.service.admission.admission import check_texts
from core.service.admission.catalog import Catalog
from core.service.admission.extension import read_new_prompt
from core.service.domain.schema import JobChange, JobSpec, JobWarning


@dataclass(frozen=True)
class AdmittedChange:
    """A change with its prompt as the model reads it, and warnings about the prompt that was sent."""

    change: JobChange
    warnings: tuple[JobWarning, ...] = ()


def admit_change(change: JobChange, spec: JobSpec, catalog: Catalog) -> AdmittedChange:
    """Whether a job with `spec` can have this. Raises a RequestError; its status is not looked at."""
    check_texts("metadata", change.metadata)
    if change.prompt is None:
        return AdmittedChange(change)
    prompt, warnings = read_new_prompt(change.prompt, catalog.get(spec.model), spec, "submit a new job")
    return AdmittedChange(change.model_copy(update={"prompt": prompt}), warnings)
