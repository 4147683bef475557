"""Stem `apm_preprocess`: a formula picture, resized and normalised as the image encoder reads it."""

import re
from collections.abc import Iterator

import torch
from torch import Tensor

from core.model.networks.picture_preprocessing import preprocess_picture
from tests.golden.folder import GoldenError
from tests.golden.formula import evaluate
from tests.golden.report import Finding
from tests.golden.stem import Stem


def run(stem: Stem) -> Iterator[Finding]:
    """The prepared picture, thinned as stored, and the grey picture's one colour."""
    picture = _picture(stem.sidecar["input_formula"])
    for name in sorted(stem.outputs()):
        if thinned := re.fullmatch(r"out\.preprocessed(?:_stride(\d+))?", name):
            stride = int(thinned.group(1) or 1)
            prepared = preprocess_picture(picture.unsqueeze(0), stem.given(name).shape[-1] * stride)[0]
            yield stem.finding(name, prepared[:, ::stride, ::stride])
    grey = preprocess_picture(torch.zeros_like(picture).unsqueeze(0), picture.shape[-1])[0]
    yield stem.finding("out.zero_image_rgb", grey.amax(dim=(1, 2)))


def _picture(formula: str) -> Tensor:
    """ "x[c,i,j] = FORMULA computed in float64 ...; ... 0..LAST; ..." as a float32 picture [3, size, size]."""
    stated = re.search(r"=\s*(.+?)\s+computed in float64", formula)
    last = re.search(r"\b0\.\.(\d{2,})", formula)
    if stated is None or last is None:
        raise GoldenError(f"the input formula is not understood: {formula!r}")
    places = torch.arange(int(last.group(1)) + 1, dtype=torch.float64)
    channels = torch.arange(3, dtype=torch.float64)
    values = {"c": channels.view(3, 1, 1), "i": places.view(1, -1, 1), "j": places.view(1, 1, -1)}
    return evaluate(stated.group(1), values).expand(3, len(places), len(places)).float()
