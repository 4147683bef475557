"""Metrics: what the frames of a video, or the events of a job, say as numbers. Torch-free; networks' metrics are in
core.model.evaluation."""
