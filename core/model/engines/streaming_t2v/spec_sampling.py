"""The sampling fields of a JobSpec for this engine."""

from dataclasses import dataclass

from core.service.domain.schema import FirstChunkSampling, JobSpec, Profile


@dataclass(frozen=True)
class SpecSampling:
    """Profile, steps and guidance, all filled in by admission."""

    profile: Profile
    guidance_scale: float
    num_inference_steps: int
    first_chunk: FirstChunkSampling


def sampling_of(spec: JobSpec) -> SpecSampling:
    """Raises ValueError for a spec of another engine."""
    profile, first_chunk = spec.profile, spec.first_chunk
    guidance_scale, num_steps = spec.guidance_scale, spec.num_inference_steps
    if profile is None or first_chunk is None or guidance_scale is None or num_steps is None:
        raise ValueError("the spec lacks sampling fields: it was made for another engine")
    return SpecSampling(profile, guidance_scale, num_steps, first_chunk)
