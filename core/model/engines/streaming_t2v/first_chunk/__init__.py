"""Where the first 16 frames come from: the preset's own base UNet, AnimateDiff, SVD, or any text-to-video pipeline.

`source.py` is the port, one module per source, `choose.py` finds the one that a deployment names.
"""
