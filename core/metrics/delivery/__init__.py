"""Metrics of how a video reached its viewer, from the events of its job."""
