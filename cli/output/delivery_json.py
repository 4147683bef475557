"""What `longtake delivery --json` prints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from core.metrics.delivery.measure import GenerationDelivery, JobDelivery, VariantDelivery
from core.metrics.delivery.several import measure_several
from core.service.domain.frame_rate import frame_rate_json


def as_json(measured: Sequence[JobDelivery], buffer_seconds: float) -> dict[str, Any]:
    """All figures by their names in core.metrics.delivery, seconds and shares from 0 to 1; null for what is not known.
    `all` has those of all jobs together, for each variant with a chunk."""
    together = {name: measure_several(measured, name) for name in ("preview", "refined")}
    return {
        "buffer_seconds": buffer_seconds,
        "jobs": [_job(one) for one in measured],
        "all": {
            name: asdict(several) | {"deadlines_met_share": several.deadlines_met_share}
            for name, several in together.items()
            if several.num_generations
        },
    }


def _job(job: JobDelivery) -> dict[str, Any]:
    return {
        "id": job.job_id,
        "status": job.status,
        "fps": frame_rate_json(job.fps),
        "notes": list(job.notes),
        "generations": [_generation(one) for one in job.generations],
    }


def _generation(generation: GenerationDelivery) -> dict[str, Any]:
    variants = generation.variants()
    figures = {name: getattr(generation, name) for name in ("outcome", "queue_seconds", "whole_video_seconds")}
    return (
        {"generation": generation.number}
        | figures
        | {name: _variant(variants[name]) if name in variants else None for name in ("preview", "refined")}
    )


def _variant(made: VariantDelivery) -> dict[str, Any]:
    viewing = made.viewing
    sums = {"stalled_seconds": viewing.stalled_seconds, "longest_stall_seconds": viewing.longest_seconds}
    derived = {"deadlines_met_share": made.deadlines_met_share, "pace": made.pace, "viewing": asdict(viewing) | sums}
    return asdict(made) | derived
