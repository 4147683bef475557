"""Named weights: a folder with preset.json and perhaps weights, and what reads such folders."""
