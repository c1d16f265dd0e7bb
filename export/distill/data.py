"""Training crops: read from tar archives without unpacking, drawn and augmented deterministically.

Knows pictures and random generators; knows nothing of networks.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from fastlic.errors import ConfigurationError

PICTURES = (".webp", ".png")
MOSAIC = (2, 3)


class Crops:
    """All crops of some archives in memory, as (3, side, side) uint8 tensors of one side, split by source picture."""

    def __init__(self, archives: Iterable[Path], held_out: float) -> None:
        """Read the archives.

        Args:
            archives: tar files holding square RGB crops of one size; `<source>_<number>.webp` are crops of one source
                picture.
            held_out: share of source pictures in `watched` instead of `trained`. Decided by name alone, so it survives
                other crops.

        Raises:
            ConfigurationError: an archive cannot be read, or the crops are empty or of several sizes.
        """
        named = sorted(crop for archive in archives for crop in _read(archive))
        sides = {(picture.shape) for _, picture in named}
        if len(sides) != 1:
            raise ConfigurationError(f"data.archives: crops must exist and have one size, found {sorted(sides)}")
        parts: dict[bool, list[Tensor]] = {True: [], False: []}
        for name, picture in named:
            parts[_share(name) < held_out].append(picture)
        self.trained = parts[False]
        self.watched = parts[True]
        self.side = self.trained[0].shape[-1]

    def batch(self, count: int, patch: int, zoom: float, generator: torch.Generator) -> Tensor:
        """Draw patches.

        Args:
            count: patches, B.
            patch: their side.
            zoom: the largest factor by which a patch is scaled down; 1 leaves pixels as they are.
            generator: decides everything; the same state gives the same patches.

        Returns:
            (B, 3, patch, patch) float in [0, 1].
        """
        picked = torch.randint(len(self.trained), (count,), generator=generator)
        return torch.stack([self._patch(self.trained[int(i)], patch, zoom, generator) for i in picked])

    def _patch(self, crop: Tensor, patch: int, zoom: float, generator: torch.Generator) -> Tensor:
        draw = torch.rand(6, generator=generator).tolist()
        largest = min(self.side, int(patch * zoom))
        # Half of the patches keep their pixels: scaling softens noise and texture, which must be learnt too.
        side = patch if draw[0] < 0.5 else patch + int((draw[0] - 0.5) * 2 * (largest - patch + 1))
        top, left = int(draw[1] * (self.side - side + 1)), int(draw[2] * (self.side - side + 1))
        cut = crop[:, top : top + side, left : left + side].float() / 255
        if side != patch:
            cut = functional.interpolate(cut[None], (patch, patch), mode="bilinear", antialias=True)[0].clamp(0, 1)
        if draw[3] < 0.5:
            cut = cut.flip(2)
        if draw[4] < 0.5:
            cut = cut.flip(1)
        return cut.transpose(1, 2) if draw[5] < 0.5 else cut

    def full_pictures(self, count: int) -> list[Tensor]:
        """Large pictures of held-out crops side by side, as coded pictures are far larger than patches.

        Returns:
            Up to `count` tensors (1, 3, about 2 side, about 3 side) float in [0, 1]; of trained crops when nothing is
            held out.
        """
        pool = self.watched or self.trained
        need = MOSAIC[0] * MOSAIC[1]
        count = max(1, min(count, len(pool) // need))
        # Crops of one source are neighbours: every count-th spreads each mosaic over all sources.
        picked = [pool[first::count] or pool for first in range(count)]
        return [mosaic([part[i % len(part)] for i in range(need)])[None].float() / 255 for part in picked]


def mosaic(crops: Sequence[Tensor]) -> Tensor:
    """Six (3, side, side) crops -> (3, 2 side, 3 side), row by row, cut to multiples of 64."""
    rows, columns = MOSAIC
    whole = torch.cat([torch.cat(list(crops[row * columns : (row + 1) * columns]), 2) for row in range(rows)], 1)
    return whole[:, : whole.shape[1] // 64 * 64, : whole.shape[2] // 64 * 64]


def _share(name: str) -> float:
    """A number in [0, 1) that all crops of one source picture have in common."""
    source = name.rsplit("_", 1)[0]
    return int.from_bytes(hashlib.sha256(source.encode()).digest()[:4], "big") / 2**32


def _read(archive: Path) -> list[tuple[str, Tensor]]:
    """Name and (3, h, w) uint8 tensor of each picture in a tar file."""
    found = []
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                stream = tar.extractfile(member) if member.name.endswith(PICTURES) else None
                if stream is not None:
                    picture = np.array(Image.open(io.BytesIO(stream.read())).convert("RGB"))
                    found.append((member.name, torch.from_numpy(picture).permute(2, 0, 1).contiguous()))
    except (OSError, tarfile.TarError) as error:
        raise ConfigurationError(f"data.archives: {archive} cannot be read ({error})") from error
    return found
