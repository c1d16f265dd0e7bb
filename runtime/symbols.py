"""What an encoder codes: the symbols of each pass, taken from what the analysis found.

Knows integers that the analysis gave, and values that are rounded around means which only the schedule knows; knows
nothing of distributions or bytes. A decoder needs none of it.
Rule: docs/format.md, section 2.1 (`shifts`).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fastlic.errors import BundleError
from fastlic.runtime.entropy.tables import MAX_VALUE
from fastlic.runtime.manifest import Code, Manifest, Shift
from fastlic.runtime.schedule import check_tensor, gather
from fastlic.runtime.tiles import Box


class Symbols:
    """The symbols of one tile, pass by pass.

    Args:
        manifest: of the student.
        box: the tile, in pixels.
        analysed: the tile's tensors from the analysis: int16 latents, or float32 (C, h, w) values of shifted ones.

    Raises:
        BundleError: a tensor has another type or shape than its latent.
    """

    def __init__(self, manifest: Manifest, box: Box, analysed: Mapping[str, np.ndarray]) -> None:
        self._analysed = analysed
        self._shifts: dict[Code, Shift] = {}
        sources: dict[str, tuple[str, type[np.generic]]] = {name: (name, np.int16) for name in manifest.coded}
        for shift in manifest.shifts:
            step = manifest.schedule[shift.step]
            assert isinstance(step, Code)  # the manifest was checked
            self._shifts[step] = shift
            sources[step.latent] = (shift.values, np.float32)
        for latent, (name, kind) in sources.items():
            area = box.scaled(manifest.latents[latent].stride)
            check_tensor(name, analysed[name], kind, (manifest.latents[latent].channels, area.height, area.width))

    def active(self, latent: str) -> np.ndarray:
        """Bool (C,): channels of an unshifted latent that are not 0 throughout."""
        return np.asarray(self._analysed[latent].any(axis=(1, 2)))

    def of(self, step: Code, tensors: Mapping[str, np.ndarray]) -> np.ndarray:
        """The symbols of one pass.

        Args:
            step: the pass.
            tensors: what the schedule has computed so far; the means of a shifted pass are among it.

        Returns:
            int16 (C', h, w').

        Raises:
            BundleError: the means are not of the pass's shape.
        """
        shift = self._shifts.get(step)
        if shift is None:
            return gather(self._analysed[step.latent], step)
        values = gather(self._analysed[shift.values], step)
        means = tensors[shift.means]
        channels, height, width = values.shape
        if means.shape != (height, width, channels):
            raise BundleError(
                f"tensor {shift.means}: {means.shape} means for {values.shape} symbols of {step.latent}. "
                "Export the bundle again."
            )
        shifted = np.rint(values - means.transpose(2, 0, 1) * np.float32(1 / shift.unit))
        return np.clip(shifted, -MAX_VALUE, MAX_VALUE).astype(np.int16)
