"""Sources of the first 16 frames other than the base UNet: AnimateDiff, SVD, any diffusers text-to-video pipeline.

`source.py` is their interface, `choose.py` loads the configured one.
"""
