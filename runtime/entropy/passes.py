"""A pass: one `code` step of the schedule for one tile, as the entropy coder sees it.

Knows the shapes of a pass and how its coded elements are shared out to streams; knows nothing of bits, nor of the
checkerboard that was packed into the array.
Rule: docs/format.md, section 3.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastlic.errors import BundleError
from fastlic.runtime.entropy.tables import Distribution, MixtureTables

MAX_STREAMS = 64


@dataclass
class Pass:
    """What is to be coded, with which distribution.

    Attributes:
        distribution: the tables.
        parameters: int16 (h, w', C', P) of a mixture; of a table int16 (h, w', C') with the row of each element, or
            None for one row per channel.
        shape: (C', h, w') of the packed array of elements.
        active: bool (C',), False where a channel is 0 throughout and not coded; None: all are active.

    Raises:
        BundleError: types or shapes do not fit together, so the bundle's graphs do not fit its tables.
    """

    distribution: Distribution
    parameters: np.ndarray | None
    shape: tuple[int, int, int]
    active: np.ndarray | None = None

    def __post_init__(self) -> None:
        channels, height, width = self.shape
        expected: tuple[int, ...] = (height, width, channels)
        if isinstance(self.distribution, MixtureTables):
            expected += (self.distribution.parameter_count,)
            if self.parameters is None:
                raise BundleError("a mixture is coded without parameters: the schedule's step names none.")
        elif self.parameters is None and len(self.distribution.cdf) < channels:
            raise BundleError(f"a table of {len(self.distribution.cdf)} rows cannot code {channels} channels.")
        if self.parameters is not None:
            if self.parameters.dtype != np.int16 or self.parameters.shape != expected:
                found = f"{self.parameters.dtype} {self.parameters.shape}"
                raise BundleError(f"parameters of a pass: the graph gave {found}, int16 {expected} is expected.")
            self.parameters = np.ascontiguousarray(self.parameters)
        if self.active is not None:
            if self.active.dtype != np.bool_ or self.active.shape != (channels,):
                raise BundleError(f"active: {self.active.dtype} {self.active.shape}, not bool ({channels},).")
            self.active = np.ascontiguousarray(self.active)


def share(count: int, stream: int, streams: int) -> slice:
    """Which of `count` coded elements of a pass belong to one of `streams` streams."""
    return slice(count * stream // streams, count * (stream + 1) // streams)
