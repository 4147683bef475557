"""Measures videos: whether they show and do what the prompt says, and keep it up over time."""
