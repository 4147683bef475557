"""Sampling fields that admission fills in for every model on a diffusers pipeline."""

from core.service.domain.schema import JobSpec


def num_steps_of(spec: JobSpec) -> int:
    """Denoising steps of a window."""
    assert spec.num_inference_steps is not None, "admission fills it in"
    return spec.num_inference_steps


def guidance_scale_of(spec: JobSpec) -> float:
    """Guidance scale of a window; 1 is none."""
    assert spec.guidance_scale is not None, "admission fills it in"
    return spec.guidance_scale
