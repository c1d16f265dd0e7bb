"""Fill a bundle's entropy tables from formulas: mixtures by family and scale, and the prior's rows.

Knows the distributions in float64; what the numbers mean to a coder stands in docs/format.md, section 4, and is
checked by
`fastlic.runtime.entropy.tables`. The constants below were chosen by measured rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from fastlic.export.integer.folding import LOGIT_UNIT, MEAN_UNIT, SCALE_UNIT
from fastlic.export.students.factorised import FactorisedPrior
from fastlic.export.students.likelihood import SCALE_FLOOR, cumulative
from fastlic.runtime.entropy.tables import LEVELS, STEPS, TOTAL, WINDOWS, MixtureTables, RowTables

SKIP_THRESHOLD = TOTAL - (TOTAL >> 10)
"""An element is not coded where its central value has at least this probability, 1 - 2^-10."""
LARGEST_SCALE = 64.0
HALF_MAX = 32767


@dataclass(frozen=True)
class FamilyShape:
    """How one family is tabulated.

    Attributes:
        span: scales that the 512 steps of the half CDF cover; beyond, less than 2^-16 remains.
        reach: scales that a window covers on each side. Less costs escapes, more costs probability and time.
    """

    span: float
    reach: float


SHAPES = {
    "normal": FamilyShape(span=4.4, reach=4.5),
    "laplace": FamilyShape(span=11.5, reach=7.0),
    "logistic": FamilyShape(span=12.0, reach=6.0),
}


def mixture_tables(
    families: Sequence[str],
    components: int,
    largest_scale: float = LARGEST_SCALE,
    skip_threshold: int = SKIP_THRESHOLD,
) -> MixtureTables:
    """Tables of a mixture whose scales are softplus(x) + 0.11, x in Q5.

    Args:
        families: names, in the order of the parameters.
        components: per family.
        largest_scale: of the last of the 64 levels, which are spaced evenly in logarithm from 0.11.
        skip_threshold: of 2^16.
    """
    levels = scale_levels(largest_scale)
    thresholds = np.ceil(SCALE_UNIT * inverse_softplus(_between(levels) - SCALE_FLOOR)).astype(np.int16)
    return _mixture_tables(families, components, levels, thresholds, skip_threshold)


def normal_tables(unit: int, largest_scale: float, skip_threshold: int = SKIP_THRESHOLD) -> MixtureTables:
    """Tables of one normal component whose scale is max(x / unit, 0.11): that of hyperprior models.

    Args:
        unit: x counts 1 / unit.
        largest_scale: of the last of the 64 levels; unit * largest_scale is within int16.
        skip_threshold: of 2^16.
    """
    levels = scale_levels(largest_scale)
    thresholds = np.ceil(unit * _between(levels)).astype(np.int16)
    return _mixture_tables(("normal",), 1, levels, thresholds, skip_threshold)


def _between(levels: np.ndarray) -> np.ndarray:
    return np.asarray(np.sqrt(levels[1:] * levels[:-1]))


def _mixture_tables(
    families: Sequence[str], components: int, levels: np.ndarray, thresholds: np.ndarray, skip_threshold: int
) -> MixtureTables:
    shapes = [SHAPES[family] for family in families]
    steps = [STEPS / shape.span * 256 * 4096 / (MEAN_UNIT * levels) for shape in shapes]
    return MixtureTables(
        families=tuple(families),
        components=components,
        skip_threshold=skip_threshold,
        exponential=np.round(65535 * np.exp(-np.arange(256) / LOGIT_UNIT)).astype(np.uint16),
        thresholds=np.tile(thresholds, (len(families), 1)),
        inverse_scale=np.round(steps).astype(np.uint32),
        tail=np.stack([np.ceil(MEAN_UNIT * shape.reach * levels) for shape in shapes]).astype(np.int32),
        half_cdf=np.stack([_half_cdf(family) for family in families]),
    )


def scale_levels(largest_scale: float = LARGEST_SCALE) -> np.ndarray:
    """(64,) float64: the scale that each level stands for."""
    return np.geomspace(SCALE_FLOOR, largest_scale, LEVELS)


def prior_rows(prior: FactorisedPrior) -> RowTables:
    """One row per channel of the hyper latent, for values round(z - median).

    The window is the narrowest that leaves less than 2^-16 on each side, so escapes are for outliers only.

    Args:
        prior: a trained factorised prior.
    """
    reach = WINDOWS[-1] // 2
    edges = torch.arange(-reach, reach + 1, dtype=torch.float64) - 0.5
    at = prior.medians().double()[:, None, None] + edges
    with torch.no_grad():
        below = torch.sigmoid(_double(prior).logits(at))[:, 0].numpy()
    cdf = np.full((len(below), STEPS + 1), TOTAL, np.int32)
    cdf[:, 0] = 0
    windows, lows = [], []
    for row, target in zip(below, cdf, strict=True):
        width, low = _window(row, reach)
        slots = np.arange(1, width)
        target[slots] = np.floor(row[slots + low + reach] * (TOTAL - width)).astype(np.int32) + slots
        windows.append(width)
        lows.append(low)
    return RowTables(cdf=cdf, window=np.array(windows, np.int16), low=np.array(lows, np.int16))


def _window(below: np.ndarray, reach: int) -> tuple[int, int]:
    """Width and `low` for one row of cumulative probabilities at the lower edges of the values from -reach."""
    inside = np.flatnonzero((below[:-1] < 1 - 1 / TOTAL) & (below[1:] > 1 / TOTAL))
    first, last = (int(inside[0]) - reach, int(inside[-1]) - reach) if inside.size else (0, 0)
    needed = last - first + 3
    width = next((width for width in WINDOWS if width >= needed), WINDOWS[-1])
    low = (first + last + 1 - width) // 2
    return width, int(np.clip(low, -reach, reach - width))


def _double(prior: FactorisedPrior) -> FactorisedPrior:
    copy = FactorisedPrior(len(prior.quantiles))
    copy.load_state_dict(prior.state_dict())
    return copy.double()


def _half_cdf(family: str) -> np.ndarray:
    """2^16 (F(t) - 1/2) at 513 steps, the last one twice."""
    t = torch.linspace(0, SHAPES[family].span, STEPS + 1, dtype=torch.float64)
    half = np.minimum(np.round(TOTAL * (cumulative(family, t).numpy() - 0.5)), HALF_MAX).astype(np.uint16)
    return np.append(half, half[-1])


def inverse_softplus(value: np.ndarray) -> np.ndarray:
    """The x of softplus(x) = value > 0."""
    return value + np.log(-np.expm1(-value))
