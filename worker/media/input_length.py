"""Whether a video from which each frame of a job is made is long enough, and how long the job is if nobody said so."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from core.service.admission.limits import limit_of
from core.service.domain.errors import VideoTooShort
from core.service.domain.frame_rate import seconds_of
from core.service.domain.schema import JobSpec, JobWarning, WarningCode
from core.service.engines.preset import Preset
from core.service.settings import Settings
from worker.media.frame_pieces import FrameIndex


@dataclass(frozen=True)
class DecodedMedia:
    """The decoded input media in the form in which they are stored, and the warnings.

    `file` is InputMedia.to_bytes; or, of a whole video, the index of `pieces`, which have `num_frames`.
    """

    file: Path
    sha256: str
    warnings: tuple[JobWarning, ...]
    pieces: tuple[Path, ...] = ()
    num_frames: int | None = None


def with_length(decoded: DecodedMedia, field: str, spec: JobSpec, preset: Preset, settings: Settings) -> DecodedMedia:
    """A whole video with its length in frames at the job's fps, and a warning if it may have been cut at a limit.

    `field`: of the request. Raises VideoTooShort.
    """
    found = FrameIndex.model_validate_json(decoded.file.read_text()).num_frames
    if found < (spec.num_frames or preset.effective_limits.min_frames):
        raise _too_short(found, field, spec, preset)
    told = replace(decoded, num_frames=found)
    if not spec.is_endless or found < spec.length:
        return told
    limit = limit_of("max_frames", preset, settings)
    set_by = limit.set_by if spec.length >= limit.most else "set by the limits of the API key"
    message = f"the video has {found} frames, the most that it may have ({set_by}), also if {field} is longer"
    warning = JobWarning(code=WarningCode.LENGTH_SHORTENED, message=message, field=field)
    return replace(told, warnings=(*told.warnings, warning))


def _too_short(found: int, field: str, spec: JobSpec, preset: Preset) -> VideoTooShort:
    least = preset.effective_limits.min_frames
    needed, rate = spec.num_frames or least, f"{float(spec.fps):.6g} frames per second"
    message = f"{field} has {found} frames ({seconds_of(found, spec.fps):.3g} s) at {rate}; {needed} are needed"
    ways = [f"give at least {seconds_of(needed, spec.fps):.3g} s of video", "ask for a higher fps"]
    if found >= least:
        ways.append(f"ask for at most {found} frames")
    return VideoTooShort(message, fix=", or ".join(ways))
