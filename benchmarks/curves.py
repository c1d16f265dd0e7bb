"""Rate-distortion curves: averages over pictures, BD-rate, and differences at one rate.

Knows points; knows nothing of codecs. A curve's rate and quality are means over pictures, as the published points are.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Literal

import numpy as np

from fastlic.benchmarks.quality import ms_ssim_db

Measure = Literal["psnr", "ms_ssim"]
LEAST_POINTS = 3
"""Points of both curves below which a BD-rate is not stated."""


@dataclass(frozen=True)
class Point:
    """One setting of one codec: bits per pixel, PSNR in RGB (dB) and MS-SSIM, of a picture or a mean."""

    bpp: float
    psnr: float
    ms_ssim: float | None = None

    @classmethod
    def mean(cls, points: list[Point]) -> Point:
        """Mean of each value; MS-SSIM only if every point has it."""
        similar = [point.ms_ssim for point in points if point.ms_ssim is not None]
        return cls(
            fmean(point.bpp for point in points),
            fmean(point.psnr for point in points),
            fmean(similar) if len(similar) == len(points) else None,
        )

    def quality(self, measure: Measure) -> float | None:
        """PSNR, or MS-SSIM in dB; None where it was not measured."""
        if measure == "psnr":
            return self.psnr
        return None if self.ms_ssim is None else ms_ssim_db(self.ms_ssim)


Curve = list[Point]


def anchors(path: Path) -> dict[str, Curve]:
    """Read published points: {"codecs": {name: {"bpp": [...], "psnr_rgb": [...], "ms_ssim": [...]}}}.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not JSON.
    """
    codecs = json.loads(path.read_text(encoding="utf-8"))["codecs"]
    found = {}
    for name, values in codecs.items():
        similar = values.get("ms_ssim") or [None] * len(values["bpp"])
        triples = zip(values["bpp"], values["psnr_rgb"], similar, strict=True)
        found[name] = sorted((Point(*triple) for triple in triples), key=lambda point: point.bpp)
    return found


def bd_rate(anchor: Curve, tested: Curve, measure: Measure) -> float | None:
    """Mean difference in rate at equal quality.

    Args:
        anchor: the curve compared with.
        tested: the curve judged.
        measure: which quality.

    Returns:
        Percent, negative where `tested` needs fewer bits; None where a curve has under three points or the two share
        no quality.
    """
    from bjontegaard import bd_rate as bjontegaard_rate

    (anchor_rates, anchor_values), (tested_rates, tested_values) = (_rising(c, measure) for c in (anchor, tested))
    if min(len(anchor_rates), len(tested_rates)) < LEAST_POINTS:
        return None
    if min(anchor_values[-1], tested_values[-1]) <= max(anchor_values[0], tested_values[0]):
        return None
    return float(
        bjontegaard_rate(
            anchor_rates, anchor_values, tested_rates, tested_values,
            method="pchip", require_matching_points=False, min_overlap=0,
        )
    )  # fmt: skip


def gain_at(anchor: Curve, point: Point, measure: Measure) -> float | None:
    """How much better a point is than a curve at the point's rate.

    Args:
        anchor: the curve compared with.
        point: one point of another codec.
        measure: which quality.

    Returns:
        dB, interpolated linearly over the logarithm of the rate; None outside the curve's rates or where quality was
        not measured.
    """
    rates, values = _rising(anchor, measure)
    quality = point.quality(measure)
    if quality is None or not rates or not rates[0] <= point.bpp <= rates[-1]:
        return None
    return quality - float(np.interp(np.log(point.bpp), np.log(rates), values))


def _rising(curve: Curve, measure: Measure) -> tuple[list[float], list[float]]:
    """Rates and qualities in ascending order, without points that cost more and are no better."""
    rates: list[float] = []
    values: list[float] = []
    for point in sorted(curve, key=lambda point: point.bpp):
        quality = point.quality(measure)
        if quality is not None and (not values or (quality > values[-1] and point.bpp > rates[-1])):
            rates.append(point.bpp)
            values.append(quality)
    return rates, values
