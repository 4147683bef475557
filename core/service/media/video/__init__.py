"""The last 16 frames of a video file at a job's rate, or all of them one by one, by PyAV, checked before it is decoded.

Two passes. The first (`timeline`) reads only times and sizes of packets: it finds the end, counts, and enforces the
limits. The second (`frames`) decodes from the key frame before the 16 moments and holds 16 pictures at most.
"""

from core.service.media.video.container import DECODER_THREADS, DecodeLimits
from core.service.media.video.frames import Warn, fitted_frame, last_frames, sampled_frames

__all__ = [
    "DECODER_THREADS",
    "DecodeLimits",
    "Warn",
    "fitted_frame",
    "last_frames",
    "sampled_frames",
]
