"""The figures of all videos of one suite in one file: what is finished is neither made nor measured again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from core.model.evaluation.generation.videos import VideoRequest, facts_of
from core.model.evaluation.metrics.measurements import Measured
from core.whole_files import write_whole

_MEASURED = TypeAdapter(Measured)


def write_figures(file: Path, requests: Sequence[VideoRequest], measured: Sequence[Measured]) -> None:
    """Write the figures of these requests atomically."""
    videos = [
        {"spec": facts_of(request.spec), "figures": asdict(figures)}
        for request, figures in zip(requests, measured, strict=True)
    ]
    write_whole(file, (json.dumps({"videos": videos}, indent=1) + "\n").encode())


def read_figures(file: Path, requests: Sequence[VideoRequest]) -> list[Measured] | None:
    """The figures of these requests; None if one is missing, was of another request, or has other figures."""
    if not file.is_file():
        return None
    videos = json.loads(file.read_text(encoding="utf-8"))["videos"][: len(requests)]
    if [video["spec"] for video in videos] != [facts_of(request.spec) for request in requests]:
        return None
    try:
        return [_MEASURED.validate_python(video["figures"]) for video in videos]
    except ValidationError:
        return None
