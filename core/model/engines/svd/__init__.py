"""Stable Video Diffusion: a video from an image, window by window."""
