"""Packing of checkerboard halves: (.., h, w) <-> (.., h, w / 2) of one parity.

Rule: docs/format.md section 3: packed column j of row r is column 2j + ((r + p) & 1), p = 0 for even and 1 for odd
parity.
"""

from __future__ import annotations

import torch
from torch import Tensor


def _second(x: Tensor, parity: int) -> Tensor:
    """(h, 1) bool: rows whose element of this parity is the second of each pair of columns."""
    return (torch.arange(x.shape[-2], device=x.device)[:, None] + parity) % 2 == 1


def pack(x: Tensor, parity: int) -> Tensor:
    """(.., h, w) -> (.., h, w / 2): the elements whose (row + column) % 2 is `parity`; w is even."""
    pairs = x.unflatten(-1, (x.shape[-1] // 2, 2))
    return torch.where(_second(x, parity), pairs[..., 1], pairs[..., 0])


def unpack(packed: Tensor, parity: int) -> Tensor:
    """(.., h, w / 2) -> (.., h, w): the inverse of `pack`, zero at elements of the other parity."""
    second = _second(packed, parity)
    zero = torch.zeros_like(packed)
    return torch.stack((torch.where(second, zero, packed), torch.where(second, packed, zero)), dim=-1).flatten(-2)
