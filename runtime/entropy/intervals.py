"""The interval of each coded element of a pass: what a writer hands to the range coder.

Knows a pass and its values; knows nothing of streams or bytes. The native module and numpy give the same intervals.
Rule: docs/format.md, section 3, points 1 to 6.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastlic.errors import BundleError
from fastlic.kernels import native
from fastlic.runtime.entropy.passes import Pass
from fastlic.runtime.entropy.prepared import CHUNK, prepare
from fastlic.runtime.entropy.tables import MixtureTables


@dataclass(frozen=True)
class Intervals:
    """The n coded elements of a pass in coding order.

    Attributes:
        left: uint32 (n), C(slot).
        frequency: uint32 (n), C(slot + 1) - C(slot), at least 1.
        excess: int32 (n), distance from an outer slot, -1 in the others.
    """

    left: np.ndarray
    frequency: np.ndarray
    excess: np.ndarray

    def bits(self) -> float:
        """Information content, the excesses' digits included."""
        excess = self.excess[self.excess >= 0] + 1.0
        digits = 2 * np.floor(np.log2(excess)) + 1
        return float(16.0 * len(self.left) - np.log2(self.frequency).sum() + digits.sum())


def intervals_of(pass_: Pass, values: np.ndarray, use_native: bool) -> tuple[np.ndarray, Intervals]:
    """Find the intervals of a pass.

    Args:
        pass_: what is coded and how.
        values: int16 (C', h, w'), C-contiguous, within +-16383.
        use_native: let the native module do it, otherwise numpy.

    Returns:
        The values a reader will see (inactive elements 0, skipped ones substituted), and the intervals.

    Raises:
        BundleError: a row that the table does not have.
    """
    return _native(pass_, values) if use_native else _numpy(pass_, values)


def _native(pass_: Pass, values: np.ndarray) -> tuple[np.ndarray, Intervals]:
    tables = pass_.distribution
    function = native.module().mixture_intervals if isinstance(tables, MixtureTables) else native.module().row_intervals
    try:
        seen, left, frequency, excess = function(tables.native, pass_.shape, pass_.parameters, pass_.active, values)
    except IndexError as error:
        raise BundleError(f"a graph chose {error}.") from None
    return seen, Intervals(left, frequency, excess)


def _numpy(pass_: Pass, values: np.ndarray) -> tuple[np.ndarray, Intervals]:
    prepared = prepare(pass_)
    coded = values.reshape(-1)[prepared.index]
    seen = prepared.fixed.copy()
    seen.flat[prepared.index] = coded
    position = coded - prepared.low
    last = prepared.width - 1
    slot = np.clip(position, 0, last)
    bounds = np.empty((len(slot), 2), np.int64)
    for start in range(0, len(slot), CHUNK):
        part = slice(start, start + CHUNK)
        bounds[part] = prepared.cdf(part, np.stack([slot[part], slot[part] + 1], axis=1))
    excess = np.where(slot == 0, -position, np.where(slot == last, position - last, -1))
    frequency = np.diff(bounds, axis=1)[:, 0]
    return seen, Intervals(bounds[:, 0].astype(np.uint32), frequency.astype(np.uint32), excess.astype(np.int32))
