"""Figures computed from the frames of one video, and their confidence intervals."""
