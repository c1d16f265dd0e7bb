"""The integer tables of a distribution, checked once so that no reader or writer has to.

Knows shapes, types and the ranges that the integer core's bounds rest on; knows nothing of files, passes or streams.
Rule: docs/format.md, section 4. The formulas that fill the tables are the exporter's.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from fastlic.errors import BundleError
from fastlic.kernels import native

WINDOWS = (8, 16, 32, 64, 128, 256, 512)
FAMILIES = ("normal", "laplace", "logistic")
MAX_COMPONENTS = 16
MAX_VALUE = 16383
TOTAL = 1 << 16
STEPS = 512
LEVELS = 64
MAX_TAIL = 1 << 20


def _check(name: str, array: np.ndarray, dtype: str, shape: tuple[int, ...]) -> None:
    """Raise `BundleError` unless `array` has exactly this type and shape."""
    if not isinstance(array, np.ndarray) or array.dtype != np.dtype(dtype) or array.shape != shape:
        found = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
        raise BundleError(f"table {name}: {found} found, {dtype} {shape} expected. Export the bundle again.")


def _require(holds: bool | np.bool_, name: str, rule: str) -> None:
    """Raise `BundleError` naming the broken rule unless it holds."""
    if not holds:
        raise BundleError(f"table {name}: {rule}. Export the bundle again.")


def _frozen(array: np.ndarray) -> np.ndarray:
    """A read-only copy: what was checked once must not change afterwards."""
    copy = np.array(array, order="C")
    copy.flags.writeable = False
    return copy


@dataclass(frozen=True, eq=False)
class MixtureTables:
    """Tables of a mixture of one to three families of distributions.

    Attributes:
        families: different names out of `FAMILIES`, in the order of the parameters.
        components: components per family; at most `MAX_COMPONENTS` over all families.
        skip_threshold: an element whose central slot has at least this frequency (of 2^16) is not coded; 2^16: none is.
        exponential: uint16 (256), 65535 exp(-d / 16), non-increasing, the first positive.
        thresholds: int16 (families, 63), ascending.
        inverse_scale: uint32 (families, 64), positive, Q12 steps of `half_cdf` (Q8) per 1/32.
        tail: int32 (families, 64), Q5, in [0, 2^20].
        half_cdf: uint16 (families, 514), non-decreasing from 0 to at most 32767, the last one twice.

    Raises:
        BundleError: a table has another type, shape or range.

    Source: docs/format.md, section 4.2.
    """

    families: tuple[str, ...]
    components: int
    skip_threshold: int
    exponential: np.ndarray
    thresholds: np.ndarray
    inverse_scale: np.ndarray
    tail: np.ndarray
    half_cdf: np.ndarray

    def __post_init__(self) -> None:
        families = tuple(self.families)
        object.__setattr__(self, "families", families)
        count = len(families)
        _require(0 < count == len(set(families)) and set(families) <= set(FAMILIES), "families",
                 f"{families} is not a choice of different names out of {FAMILIES}")  # fmt: skip
        _require(1 <= self.components <= MAX_COMPONENTS // count, "components",
                 f"{count} x {self.components} components; 1 to {MAX_COMPONENTS} can be coded")  # fmt: skip
        _require(1 <= self.skip_threshold <= TOTAL, "skip_threshold", f"{self.skip_threshold} is not in [1, {TOTAL}]")
        _check("exponential", self.exponential, "uint16", (256,))
        _check("thresholds", self.thresholds, "int16", (count, LEVELS - 1))
        _check("inverse_scale", self.inverse_scale, "uint32", (count, LEVELS))
        _check("tail", self.tail, "int32", (count, LEVELS))
        _check("half_cdf", self.half_cdf, "uint16", (count, STEPS + 2))
        _require(self.exponential[0] > 0, "exponential", "the first entry is 0")
        _require((self.exponential[1:] <= self.exponential[:-1]).all(), "exponential", "it increases somewhere")
        _require((self.thresholds[:, 1:] >= self.thresholds[:, :-1]).all(), "thresholds", "they descend somewhere")
        _require((self.inverse_scale > 0).all(), "inverse_scale", "an entry is 0")
        _require(((self.tail >= 0) & (self.tail <= MAX_TAIL)).all(), "tail", f"an entry is not in [0, {MAX_TAIL}]")
        half = self.half_cdf
        _require((half[:, 0] == 0).all() and (half[:, -1] <= 32767).all(), "half_cdf", "it is not from 0 to 32767")
        _require((half[:, 1:] >= half[:, :-1]).all(), "half_cdf", "it decreases somewhere")
        _require((half[:, -1] == half[:, -2]).all(), "half_cdf", "the last entry is not a copy of the one before")
        for name in ("exponential", "thresholds", "inverse_scale", "tail", "half_cdf"):
            object.__setattr__(self, name, _frozen(getattr(self, name)))

    @property
    def parameter_count(self) -> int:
        """Numbers per element, P: logit, mean and scale of each component, and a logit per family if there are more."""
        families = len(self.families)
        return 3 * families * self.components + (families if families > 1 else 0)

    @cached_property
    def native(self) -> Any:
        """The same tables in the native module. Raises `EngineUnavailable` where that was not built."""
        return native.module().MixtureTables(
            self.components, self.skip_threshold, self.exponential, self.thresholds, self.inverse_scale, self.tail,
            self.half_cdf,
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class RowTables:
    """One cumulative distribution per row.

    Attributes:
        cdf: int32 (rows, 513); row r rises strictly from 0 to 2^16 at `window[r]` and stays there.
        window: int16 (rows), each one of `WINDOWS`.
        low: int16 (rows): slot j in [1, window - 2] is the value low + j, within +-16383.

    Raises:
        BundleError: a table has another type, shape or range.

    Source: docs/format.md, section 4.1.
    """

    cdf: np.ndarray
    window: np.ndarray
    low: np.ndarray

    def __post_init__(self) -> None:
        rows = len(self.cdf) if isinstance(self.cdf, np.ndarray) and self.cdf.ndim else 0
        _require(1 <= rows <= 32768, "cdf", f"{rows} rows; 1 to 32768 can be addressed")
        _check("cdf", self.cdf, "int32", (rows, STEPS + 1))
        _check("window", self.window, "int16", (rows,))
        _check("low", self.low, "int16", (rows,))
        _require(np.isin(self.window, WINDOWS).all(), "window", f"an entry is none of {WINDOWS}")
        low, window = self.low.astype(np.int32), self.window.astype(np.int32)
        _require((low + 1 >= -MAX_VALUE).all() and (low + window - 2 <= MAX_VALUE).all(), "low",
                 f"a window leaves [-{MAX_VALUE}, {MAX_VALUE}]")  # fmt: skip
        inside = np.arange(STEPS)[None, :] < window[:, None]
        _require((self.cdf[:, 0] == 0).all() and (self.cdf[:, 1:][~inside] == TOTAL).all() and
                 (self.cdf[np.arange(rows), window] == TOTAL).all(), "cdf",
                 f"a row does not go from 0 to {TOTAL} at its window's width")  # fmt: skip
        # As int64: a hostile row may hold any int32, and a wrapped difference would look positive.
        _require(
            (np.diff(self.cdf.astype(np.int64), axis=1)[inside] > 0).all(), "cdf", "a slot has frequency 0 or less"
        )
        for name in ("cdf", "window", "low"):
            object.__setattr__(self, name, _frozen(getattr(self, name)))

    @cached_property
    def native(self) -> Any:
        """The same tables in the native module. Raises `EngineUnavailable` where that was not built."""
        return native.module().RowTables(self.cdf, self.window, self.low)


Distribution: TypeAlias = MixtureTables | RowTables
