"""How places in memory are named to a device: by address. Knows nothing of who owns them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class Addressed(Protocol):
    """Memory that kernels can reach: a `Buffer`, a `HostBuffer`, a `DeviceArray`."""

    @property
    def pointer(self) -> int:
        """Its device address."""


@dataclass(frozen=True)
class Region:
    """The beginning of a box in device memory: its address, bytes from row to row, rows from plane to plane."""

    address: int
    pitch: int
    rows: int
