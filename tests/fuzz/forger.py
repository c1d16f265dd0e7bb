"""Files that a writer could have written, of symbols that no picture has: what only a valid stream reaches.

Mutated streams hardly ever end in their seal, so nothing behind it would be tried. Here any symbols are written
properly: networks and synthesis meet values up to the limits, and the symbol checksum is right, or wrong on purpose.
"""

from __future__ import annotations

import numpy as np
from tile_writer import write_tile

from fastlic.runtime import bitstream
from fastlic.runtime.bitstream import TileData
from fastlic.runtime.schedule import symbol_crc
from fastlic.runtime.student import Student
from fastlic.runtime.tiles import TileGrid

LIMIT = 16383


class Forger:
    """An endless supply of such files, the same for the same seed.

    Args:
        student: that they are for, of one rate.
        seed: of the random numbers.
    """

    def __init__(self, student: Student, seed: int) -> None:
        self._student, self._random = student, np.random.default_rng(seed)

    def next(self) -> tuple[bytes, bool]:
        """One file, and whether its symbol checksums are right."""
        chance, student = self._random, self._student
        unit = student.manifest.multiple
        width, height = (int(edge) for edge in chance.integers(1, 2 * unit + 1, 2))
        grid = TileGrid(width, height, unit, unit * int(chance.integers(1, 3)), unit * int(chance.integers(1, 3)))
        is_right = bool(chance.random() < 0.7)
        tiles = []
        for box in grid:
            latents = {
                name: self._symbols((latent.channels, *(edge // latent.stride for edge in (box.height, box.width))))
                for name, latent in student.manifest.coded.items()
            }
            active = {name: chance.random(channels) < 0.8 for name, channels in student.mapped.items()}
            streams, seen = write_tile(student, box, latents, active, int(chance.choice((1, 2, 5, 64))))
            maps = {name: np.packbits(bits, bitorder="little").tobytes() for name, bits in active.items()}
            crc = symbol_crc(student.manifest.coded, seen)
            tiles.append(TileData(maps, streams, crc if is_right else crc ^ 1 << int(chance.integers(32))))
        data = bitstream.write(
            width=width,
            height=height,
            grid=grid,
            fingerprint=student.bundle.fingerprint,
            student=student.manifest.name,
            metadata={},
            tiles=tiles,
        )
        return data, is_right

    def _symbols(self, shape: tuple[int, ...]) -> np.ndarray:
        """int16, some of them anywhere that a symbol can be."""
        chance = self._random
        values = np.round(chance.laplace(0, chance.choice((0.3, 3, 300)), shape))
        anywhere = chance.choice((-LIMIT, LIMIT, 0, int(chance.integers(-LIMIT, LIMIT + 1))), shape)
        mixed = np.where(chance.random(shape) < chance.choice((0.0, 0.05, 1.0)), anywhere, values)
        return np.clip(mixed, -LIMIT, LIMIT).astype(np.int16)
