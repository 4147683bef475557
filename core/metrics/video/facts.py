"""What readers must know of each value of this package's metrics. docs/evaluation.md has them as a table."""

from __future__ import annotations

from collections.abc import Mapping

from core.metrics.video.metric import Fact

_PAPER = "arXiv 2403.14773"

FACTS: Mapping[str, Fact] = {
    "scuts": Fact(
        "SCuts",
        "Number of hard cuts that PySceneDetect's AdaptiveDetector finds with its defaults.",
        "lower",
        f"PySceneDetect; {_PAPER}v2, appendix 12",
        decimals=2,
    ),
    "mawe_v1": Fact(
        "MAWE (v1)",
        "Warp error over 9.5 times the mean length of the flow, both means over the video; grey levels squared "
        "per pixel.",
        "lower",
        f"{_PAPER}v1, section 5.2",
        decimals=2,
    ),
    "mawe_v2": Fact(
        "MAWE (v2)",
        "Warp error over the mean squared length of the flow, both means over the video; grey levels squared per pixel "
        "squared.",
        "lower",
        f"{_PAPER}v2, appendix 12",
        decimals=2,
    ),
    "mawe_code": Fact(
        "MAWE (code)",
        "Mean over pairs of frames of warp error over 9.5 times the mean length of the flow; grey levels squared per "
        "pixel.",
        "lower",
        "mawe.py of Picsart-AI-Research/StreamingT2V",
        decimals=2,
    ),
    "ofs": Fact("OFS", "Mean length of the flow, in pixels of the measured size.", None, f"{_PAPER}v1, section 5.2"),
    "ofs_squared": Fact(
        "OFS squared",
        "Mean squared length of the flow, in pixels squared of the measured size.",
        None,
        f"{_PAPER}v2, appendix 12",
    ),
    "warp_error": Fact(
        "Warp error W",
        "Mean squared difference between each frame and the frame before it warped by the flow, holes left out; grey "
        "levels squared.",
        "lower",
        f"{_PAPER}; mawe.py",
        decimals=2,
    ),
    "seam_score": Fact(
        "Seam score",
        "How far the mean flow across window borders (a note names them) is from that between other frames, in "
        "standard deviations of the latter; 1 where a border moves like any other pair.",
        "lower",
        "defined in core/metrics/video/seams.py",
        decimals=2,
    ),
    "flow_std": Fact(
        "Flow std",
        "Standard deviation over pairs of frames of the mean length of the flow, in pixels.",
        "lower",
        f"{_PAPER}v2, section 9, randomized blending",
    ),
    "motion_drift": Fact(
        "Motion drift",
        "log2 of the mean length of the flow in the last quarter over that in the first: 0 is no drift, 1 twice the "
        "motion.",
        None,
        "defined in core/metrics/video/trend.py",
    ),
    "saturation_drift": Fact(
        "Saturation drift",
        "Mean HSV saturation (0 to 1) of the last quarter minus that of the first.",
        None,
        "defined in core/metrics/video/drift.py",
    ),
    "saturation_slope": Fact(
        "Saturation slope",
        "Least-squares slope of the mean HSV saturation (0 to 1), per 100 frames.",
        None,
        "defined in core/metrics/video/drift.py",
    ),
    "contrast_drift": Fact(
        "Contrast drift",
        "RMS contrast (standard deviation of the luma, 0 to 0.5) of the last quarter minus that of the first.",
        None,
        "defined in core/metrics/video/drift.py; RMS contrast: Peli 1990",
    ),
    "contrast_slope": Fact(
        "Contrast slope",
        "Least-squares slope of the RMS contrast (0 to 0.5), per 100 frames.",
        None,
        "defined in core/metrics/video/drift.py; RMS contrast: Peli 1990",
    ),
    "sharpness_drift": Fact(
        "Sharpness drift",
        "log2 of the variance of the luma's Laplacian in the last quarter over that in the first: 0 is no drift, 1 "
        "twice the sharpness.",
        None,
        "defined in core/metrics/video/drift.py; variance of the Laplacian: Pech-Pacheco 2000",
    ),
    "sharpness_slope": Fact(
        "Sharpness slope",
        "Least-squares slope of log2 of the variance of the luma's Laplacian, per 100 frames: 1 is twice the "
        "sharpness.",
        None,
        "defined in core/metrics/video/drift.py; variance of the Laplacian: Pech-Pacheco 2000",
    ),
    "duplicate_ratio": Fact(
        "Duplicates",
        "Share of frames that repeat the frame before: mean absolute difference of at most 0.001 of the range.",
        "lower",
        "the threshold of FFmpeg's freezedetect",
    ),
}
"""By the name of the value."""
