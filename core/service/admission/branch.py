"""A branch is checked as a new request would be; what it does not name is as in its source."""

from __future__ import annotations

from core.service.admission.admission import (
    Admitted,
    check_texts,
    webhook_events_of,
    webhook_secret_of,
    webhook_url_of,
)
from core.service.admission.catalog import Catalog, PresetFolder
from core.service.admission.extension import read_new_prompt, require_free_length
from core.service.admission.length import endless_limit_of, fix_of_null
from core.service.admission.limits import limit_of
from core.service.admission.refine_request import check_lockstep
from core.service.domain.errors import FieldNotSupported, InvalidField, JobStateConflict, TooManyFrames
from core.service.domain.frame_plan import CHUNK_FRAMES
from core.service.domain.prompt_schedule import prompt_at, without_prompts_from
from core.service.domain.schema import (
    JobBranch,
    JobRecord,
    JobSpec,
    JobWarning,
    PromptChange,
    SeedChange,
    WebhookEvent,
)
from core.service.net.address_guard import Resolve
from core.service.settings import Settings


def admit_branch(
    branch: JobBranch, source: JobRecord, catalog: Catalog, settings: Settings, resolve: Resolve
) -> Admitted:
    """The spec of the branch, and warnings about its prompt.

    Raises a RequestError; JobStateConflict for a chunk that the source may still get.
    """
    check_texts("metadata", branch.metadata)
    check_texts("webhook_url", branch.webhook_url)
    _check_from_chunk(branch.from_chunk, source)
    folder, spec = catalog.get(source.spec.model), source.spec
    first = branch.from_chunk * CHUNK_FRAMES
    changes = {**_length(branch, spec, first, folder, settings), **_seed(branch, spec, folder)}
    prompt_changes, warnings = _prompts(branch, spec, first, folder)
    url, events = _webhook(branch, spec, settings, resolve)
    metadata = (branch.metadata or {}) if "metadata" in branch.model_fields_set else spec.metadata
    changes |= {"prompt_changes": prompt_changes, "webhook_url": url, "webhook_events": events, "metadata": metadata}
    changes["priority"] = branch.priority or spec.priority
    changes["measure"] = branch.measure if "measure" in branch.model_fields_set else spec.measure
    return Admitted(spec.model_copy(update=changes), warnings, _secret(branch, source, url))


def _check_from_chunk(from_chunk: int, source: JobRecord) -> None:
    last = source.chunks.last
    whole = source.chunks.count - (last is not None and last.num_frames < CHUNK_FRAMES)
    if from_chunk <= whole:
        return
    if not source.status.is_terminal:
        message = f"the job has {whole} chunks of {CHUNK_FRAMES} frames now"
        raise JobStateConflict(message, field="from_chunk", fix="wait for its chunk.completed, or give less")
    message = f"the job has {whole} chunks of {CHUNK_FRAMES} frames, and a branch shares none but those"
    fix = f"give at most {whole}" if whole else "submit a new job"
    raise InvalidField(message, field="from_chunk", fix=fix)


def _length(
    branch: JobBranch, spec: JobSpec, first: int, folder: PresetFolder, settings: Settings
) -> dict[str, object]:
    """The length that is named, or the source's. One without an end has the limit that holds now."""
    num_frames = branch.num_frames if branch.changes_length else spec.num_frames
    if num_frames is not None and num_frames != spec.num_frames:
        require_free_length(folder, spec, "leave it out")
    if branch.changes_length and spec.refine is not None:
        check_lockstep(spec.refine, num_frames, limit_of("max_lockstep_frames", folder.preset, settings))
    fix = "give a number" if spec.is_endless else fix_of_null(folder.preset, spec)
    limit = endless_limit_of(folder.preset, spec, settings, fix) if num_frames is None else None
    _check_length(num_frames or limit or 0, first)
    most = limit_of("max_frames", folder.preset, settings)
    if branch.num_frames is not None and branch.num_frames > most.most:
        message = f"{most.most} frames are allowed here, {most.set_by}"
        raise TooManyFrames(message, field="num_frames", fix=f"give at most {most.most}")
    return {"num_frames": num_frames, "endless_limit": limit}


def _check_length(length: int, first: int) -> None:
    """Raises InvalidField if nothing would follow the `first` frames, which the branch shares."""
    if length <= first:
        message = f"the branch would have {length} frames, and {first} of them are those that it shares"
        raise InvalidField(message, field="num_frames", fix=f"give at least {first + 1}, or a smaller from_chunk")


def _webhook(
    branch: JobBranch, spec: JobSpec, settings: Settings, resolve: Resolve
) -> tuple[str | None, tuple[WebhookEvent | str, ...]]:
    named = branch.model_fields_set
    url = webhook_url_of(branch.webhook_url, settings, resolve) if "webhook_url" in named else spec.webhook_url
    if "webhook_events" in named or url is None:
        return url, webhook_events_of(branch.webhook_events, url)
    return url, spec.webhook_events


def _secret(branch: JobBranch, source: JobRecord, url: str | None) -> str | None:
    if url is None or "webhook_secret" in branch.model_fields_set:
        return webhook_secret_of(branch.webhook_secret, url)
    return source.webhook_secret


def _seed(branch: JobBranch, spec: JobSpec, folder: PresetFolder) -> dict[str, object]:
    if branch.seed is None:
        return {}
    if not folder.preset.capabilities.reseeds:
        message = f"{folder.preset.name} cannot go on with another seed"
        raise FieldNotSupported(message, field="seed", fix="leave it out")
    before = (change for change in spec.seed_changes if change.start_chunk < branch.from_chunk)
    return {"seed_changes": (*before, SeedChange(start_chunk=branch.from_chunk, seed=branch.seed))}


def _prompts(
    branch: JobBranch, spec: JobSpec, first: int, folder: PresetFolder
) -> tuple[tuple[PromptChange, ...], tuple[JobWarning, ...]]:
    """A new prompt takes the place of all that the source has from there on."""
    if branch.prompt is None:
        return spec.prompt_changes, ()
    text, warnings = read_new_prompt(branch.prompt, folder, spec, "leave it out")
    kept = without_prompts_from(spec, first)
    new = () if prompt_at(kept, first) == text else (PromptChange(start_frame=first, text=text),)
    return (*kept.prompt_changes, *new), warnings
