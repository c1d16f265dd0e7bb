"""How far around a window a transform must see so that no seam shows: measured, since deformable offsets have no bound.

Knows windows and differences; knows nothing of networks but that they can be evaluated.
Rule: docs/format.md, section 2.2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from fastlic.errors import VerificationFailed

STEP = 16
"""Pixels; halos are multiples of it, and one step is added to what was measured."""
TOLERANCE = 1 / 32
"""Levels (synthesis) or quantisation steps (analysis): a rounding then differs by one at most, and at few places."""
CORE = 64
"""Pixels inside the two seams of the test window."""
MAX_HALO = 448
HEIGHT = 128
"""Pixels of a strip across its length: the seam is what is tested, not its length."""

Transform = Callable[[Tensor], Tensor]
"""(1, C, h, w) float -> (1, C', h', w') float, at a fixed ratio of sizes."""


def measure(transform: Transform, strips: Sequence[Tensor], stride: int, name: str, step: int = STEP) -> int:
    """The smallest halo whose window differs nowhere by more than `TOLERANCE` from the whole strip, plus one step.

    Args:
        transform: evaluates a window.
        strips: (1, C, h, w) float, the longer axis long enough for the core and the largest halo on both sides. A
            seam is laid across it, so that one wide and one tall strip test both directions.
        stride: pixels per element of the strips.
        name: for the message.
        step: pixels, a multiple of every stride: halos are multiples of it.

    Returns:
        Pixels.

    Raises:
        VerificationFailed: no halo up to 448 pixels is enough, so large pictures cannot be cut.
    """
    with torch.no_grad():
        whole = [transform(strip) for strip in strips]
        for halo in range(step, MAX_HALO + 1, step):
            if all(
                _difference(transform, strip, complete, halo // stride, CORE // stride) <= TOLERANCE
                for strip, complete in zip(strips, whole, strict=True)
            ):
                return halo + step
    raise VerificationFailed(f"{name}: windows differ from the whole picture even with a halo of {MAX_HALO} pixels.")


def strip_of(pictures: Sequence[np.ndarray], length: int = CORE + 2 * MAX_HALO) -> np.ndarray:
    """Pictures side by side, uint8 (at most 128, at least `length`, 3), repeated where there are too few."""
    height = min(HEIGHT, *(picture.shape[0] for picture in pictures))
    parts: list[np.ndarray] = []
    total = 0
    while total < length:
        parts.append(pictures[len(parts) % len(pictures)][:height])
        total += parts[-1].shape[1]
    return np.concatenate(parts, axis=1)


def _difference(transform: Transform, strip: Tensor, whole: Tensor, halo: int, core: int) -> float:
    """The largest difference inside the core of a window in the middle; `halo` and `core` in elements of the strip."""
    axis = 2 if strip.shape[2] > strip.shape[3] else 3
    scale = whole.shape[axis] / strip.shape[axis]
    first = (strip.shape[axis] - core) // (2 * core) * core
    window = transform(strip.narrow(axis, first - halo, core + 2 * halo))
    kept = window.narrow(axis, round(halo * scale), round(core * scale))
    return float((kept - whole.narrow(axis, round(first * scale), round(core * scale))).abs().max())
