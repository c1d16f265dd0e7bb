"""The integer mixture in numpy: the readable twin of `include/fastlic/mixture.h`, equal bit for bit.

Knows the arithmetic of many elements at once, one per row; knows nothing of passes, order or bytes. It is what one
reads to understand the header, what the header is tested against, and what codes where the native module was not built.
Rule: docs/format.md, section 4.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

WEIGHT_BITS = 15
STEPS = 512
WINDOWS = np.array([8, 16, 32, 64, 128, 256, 512])


class Tables(Protocol):
    """The tables the arithmetic reads; `fastlic.runtime.entropy.tables.MixtureTables` describes and checks them."""

    @property
    def families(self) -> tuple[str, ...]:
        """Names, of interest here only by their number."""

    @property
    def components(self) -> int:
        """Of each family."""

    @property
    def exponential(self) -> np.ndarray:
        """E, uint16 (256)."""

    @property
    def thresholds(self) -> np.ndarray:
        """Int16 (families, 63), ascending."""

    @property
    def inverse_scale(self) -> np.ndarray:
        """Uint32 (families, 64), Q12 steps of `half_cdf` (Q8) per 1/32."""

    @property
    def tail(self) -> np.ndarray:
        """Int32 (families, 64), Q5."""

    @property
    def half_cdf(self) -> np.ndarray:
        """H, uint16 (families, 514), Q16."""


@dataclass(frozen=True)
class Elements:
    """What the frequencies of n elements with K components depend on.

    Attributes:
        weights: int64 (n, K), Q15, each row sums to 2^15.
        levels: int64 (n, K), 0 to 63.
        means: int64 (n, K), Q5.
        centre: int64 (n), value of slot W / 2.
        window: int64 (n), class 0 to 6; W = `WINDOWS[window]`.
    """

    weights: np.ndarray
    levels: np.ndarray
    means: np.ndarray
    centre: np.ndarray
    window: np.ndarray

    def __getitem__(self, rows: np.ndarray | slice) -> Elements:
        """The elements of these rows."""
        return Elements(self.weights[rows], self.levels[rows], self.means[rows], self.centre[rows], self.window[rows])

    @property
    def low(self) -> np.ndarray:
        """int64 (n): slot j is the value low + j."""
        return self.centre - WINDOWS[self.window] // 2


def _exponentials(tables: Tables, logits: np.ndarray) -> np.ndarray:
    """E[min(255, max - logit)] along the last axis, int64."""
    below = logits.max(axis=-1, keepdims=True) - logits
    return tables.exponential.astype(np.int64)[np.minimum(below, 255)]


def weights(tables: Tables, logits: np.ndarray, family_logits: np.ndarray) -> np.ndarray:
    """Weights of the components.

    Args:
        tables: of the distribution.
        logits: int64 (n, families, components), Q4.
        family_logits: int64 (n, families), Q4; not looked at with one family.

    Returns:
        int64 (n, K), Q15. The largest (lowest index on ties) has been given what the floors left over.
    """
    e = _exponentials(tables, logits)
    one = np.ones((len(e), 1), np.int64)
    g = _exponentials(tables, family_logits) if len(tables.families) > 1 else one
    denominator = (g.sum(axis=1, keepdims=True) * e.sum(axis=2))[:, :, None]  # < 2^38
    shares = ((g[:, :, None] * e) << WEIGHT_BITS) // denominator  # dividend < 2^47
    shares = shares.reshape(len(e), len(tables.families) * tables.components)
    heaviest = shares.argmax(axis=1)
    shares[np.arange(len(e)), heaviest] += (1 << WEIGHT_BITS) - shares.sum(axis=1)
    return shares


def prepare(tables: Tables, parameters: np.ndarray) -> Elements:
    """Weights, levels, centre and window of elements.

    Args:
        tables: of the distribution.
        parameters: int16 (n, P): K logits (Q4), K means (Q5), K scale indices, then a logit per family if several.

    Returns:
        One row per element.
    """
    families, components = len(tables.families), tables.components
    count = families * components
    numbers = parameters.astype(np.int64)
    shape = (len(numbers), families, components)
    means = numbers[:, count : 2 * count]
    scales = numbers[:, 2 * count : 3 * count].reshape(shape)
    w = weights(tables, numbers[:, :count].reshape(shape), numbers[:, 3 * count :])
    level = np.empty(shape, np.int64)
    tail = np.empty(shape, np.int64)
    for f in range(families):
        level[:, f] = np.searchsorted(tables.thresholds[f], scales[:, f], side="right")
        tail[:, f] = tables.tail[f][level[:, f]]
    heaviest = w.argmax(axis=1)
    centre = (means[np.arange(len(w)), heaviest] + 16) >> 5
    needed = np.abs(means - 32 * centre[:, None]) + tail.reshape(w.shape)
    reach = np.where(w > 0, needed, 0).max(axis=1, initial=0)
    window = np.minimum(np.searchsorted(16 * WINDOWS, reach, side="left"), len(WINDOWS) - 1)
    return Elements(w, level.reshape(w.shape), means, centre, window)


def cdf(tables: Tables, elements: Elements, slots: np.ndarray) -> np.ndarray:
    """C(j) of each element.

    Args:
        tables: of the distribution.
        elements: n of them.
        slots: int64 (n) or (n, J), from 0 to W.

    Returns:
        int64 in the shape of `slots`, 0 to 2^16, strictly increasing in j.
    """
    j = slots.reshape(len(slots), -1)
    width = WINDOWS[elements.window][:, None]
    edge = 32 * (elements.low[:, None] + j) - 16
    total = np.zeros(j.shape, np.int64)
    for k in range(elements.weights.shape[1]):  # one component at a time: (n, J) is the largest array
        f = k // tables.components
        d = edge - elements.means[:, k, None]
        inverse_scale = tables.inverse_scale[f].astype(np.int64)[elements.levels[:, k]][:, None]
        u = np.minimum((np.abs(d) * inverse_scale) >> 12, STEPS << 8)
        table = tables.half_cdf[f].astype(np.int64)
        i = u >> 8
        h = table[i] + (((table[i + 1] - table[i]) * (u & 255)) >> 8)
        total += elements.weights[:, k, None] * ((1 << 15) + np.where(d >= 0, h, -h))
    c = (((total >> WEIGHT_BITS) * ((1 << 16) - width)) >> 16) + j
    c = np.where(j <= 0, 0, np.where(j >= width, 1 << 16, c))
    return c.reshape(slots.shape)


def skipped(tables: Tables, elements: Elements, threshold: int) -> np.ndarray:
    """Whether the frequency of the central slot is at least `threshold`, bool (n)."""
    middle = WINDOWS[elements.window] // 2
    return cdf(tables, elements, middle + 1) - cdf(tables, elements, middle) >= threshold


def concatenated(parts: list[Elements]) -> Elements:
    """All elements of `parts`, which is not empty, in order."""
    names = ("weights", "levels", "means", "centre", "window")
    return Elements(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))
