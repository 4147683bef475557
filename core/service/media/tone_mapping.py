"""Tone mapping of HDR and wide-gamut pictures to SDR in BT.709, with white at 203 cd/m2.

- Transfer functions: PQ and HLG by ITU-R BT.2100 (HLG on a display of 1,000 cd/m2), others by BT.1886 (gamma 2.4).
- White: 203 cd/m2, the reference white of ITU-R BT.2408.
- Highlights: the EETF of ITU-R BT.2390, section 5.4.1, on the largest of R, G and B, so that hues stay.
- Colours outside BT.709 are clipped.

libswscale's mapping (FFmpeg 8) takes seconds per clip for a lookup table, and desaturates colours within BT.709.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import cache

import numpy as np
from numpy.typing import NDArray

WHITE_NITS = 203.0
DEFAULT_PEAK_NITS = 1000.0
"""Peak luminance if a file does not declare it: that of most mastering displays, and of HLG."""
MOST_NITS = 10_000.0
"""Maximum of PQ."""

Floats = NDArray[np.float32]

_M1, _M2 = 2610 / 16384, 2523 / 4096 * 128
_C1, _C2, _C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
"""Constants of PQ (BT.2100, table 4)."""
_HLG_A, _HLG_B, _HLG_C, _HLG_GAMMA = 0.17883277, 0.28466892, 0.55991073, 1.2
"""Constants of HLG (BT.2100, table 5), with the system gamma at 1,000 cd/m2."""
_SCREEN_GAMMA = 2.4
_CODES = 65536
_ROWS_AT_ONCE = 128


class Curve(Enum):
    """Transfer function."""

    PQ = "PQ"
    HLG = "HLG"
    SDR = "SDR"


class Gamut(Enum):
    """Primaries: x and y of red, green and blue (white is D65)."""

    BT709 = ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060))
    BT2020 = ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046))
    DISPLAY_P3 = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))


@dataclass(frozen=True)
class Mapping:
    """Mapping to 8-bit BT.709. `peak_nits` is the peak luminance of the source in cd/m2."""

    curve: Curve
    gamut: Gamut
    peak_nits: float = DEFAULT_PEAK_NITS

    def applied(self, codes_HWC: NDArray[np.uint16]) -> NDArray[np.uint8]:
        """Map 16-bit RGB code values (full range) to 8-bit ones."""
        parts = [self._part(codes_HWC[row : row + _ROWS_AT_ONCE]) for row in range(0, len(codes_HWC), _ROWS_AT_ONCE)]
        return np.concatenate(parts)

    def _part(self, codes_HWC: NDArray[np.uint16]) -> NDArray[np.uint8]:
        light = _light(self.curve)[codes_HWC]
        if self.curve is Curve.HLG:
            light = _on_screen(light)
        light = (light @ _to_bt709(self.gamut)).clip(0, None)
        if self.curve is not Curve.SDR:
            largest = light.max(axis=2, keepdims=True).clip(1e-6, None)
            light *= compressed(largest, self.peak_nits) / largest
        return np.rint(255 * light.clip(0, 1) ** np.float32(1 / _SCREEN_GAMMA)).astype(np.uint8)


def compressed(light: Floats, peak_nits: float) -> Floats:
    """Compress light from `peak_nits` to white (1.0) by BT.2390's EETF, black unchanged. In units of white."""
    if peak_nits <= WHITE_NITS:
        return light
    source_peak = _pq(np.float32(peak_nits))
    white = _pq(np.float32(WHITE_NITS)) / source_peak
    knee = 1.5 * white - 0.5
    level = (_pq(light * WHITE_NITS) / source_peak).clip(0, 1)
    bend = ((level - knee) / (1 - knee)).clip(0, 1)
    bent = (
        (2 * bend**3 - 3 * bend**2 + 1) * knee
        + (bend**3 - 2 * bend**2 + bend) * (1 - knee)
        + (3 * bend**2 - 2 * bend**3) * white
    )
    nits = _nits(np.where(level < knee, level, bent) * source_peak)
    return (nits / WHITE_NITS).astype(np.float32)


def _nits(codes: Floats | NDArray[np.float64]) -> Floats:
    """PQ's EOTF: code values in [0, 1] to cd/m2."""
    root = codes ** (1 / _M2)
    nits = MOST_NITS * ((root - _C1).clip(0, None) / (_C2 - _C3 * root)) ** (1 / _M1)
    return nits.astype(np.float32)


def _pq(nits: Floats | np.float32) -> Floats:
    """The inverse of `_nits`."""
    power = (nits / np.float32(MOST_NITS)) ** _M1
    return np.asarray(((_C1 + _C2 * power) / (1 + _C3 * power)) ** _M2, dtype=np.float32)


@cache
def _light(curve: Curve) -> Floats:
    """Light of each code value in units of white; scene light for HLG."""
    codes = np.linspace(0, 1, _CODES)
    if curve is Curve.PQ:
        light = _nits(codes) / WHITE_NITS
    elif curve is Curve.HLG:
        light = np.where(codes <= 0.5, codes**2 / 3, (np.exp((codes - _HLG_C) / _HLG_A) + _HLG_B) / 12)
    else:
        light = codes**_SCREEN_GAMMA
    return light.astype(np.float32)


def _on_screen(scene: Floats) -> Floats:
    """HLG's OOTF: scene light to light of a 1,000 cd/m2 display, in units of white."""
    luminance = scene @ _to_xyz(Gamut.BT2020)[1].astype(np.float32)
    gain = luminance.clip(1e-6, None) ** (_HLG_GAMMA - 1) * (DEFAULT_PEAK_NITS / WHITE_NITS)
    return scene * gain[..., None]


@cache
def _to_bt709(gamut: Gamut) -> Floats:
    """Matrix to BT.709, applied to RGB from the right."""
    return (np.linalg.inv(_to_xyz(Gamut.BT709)) @ _to_xyz(gamut)).T.astype(np.float32)


@cache
def _to_xyz(gamut: Gamut) -> NDArray[np.float64]:
    """RGB to XYZ matrix; red, green and blue add up to D65 (SMPTE RP 177)."""
    primaries = _xyz_of((*gamut.value, _D65))
    return primaries[:, :3] * np.linalg.solve(primaries[:, :3], primaries[:, 3])


_D65 = (0.3127, 0.3290)


def _xyz_of(points: tuple[tuple[float, float], ...]) -> NDArray[np.float64]:
    return np.array([(x / y, 1.0, (1 - x - y) / y) for x, y in points]).T
