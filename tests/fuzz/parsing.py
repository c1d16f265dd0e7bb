"""The Python parser as a decoder calls it before the first symbol, without an engine."""

from __future__ import annotations

from dataclasses import dataclass

from fastlic.errors import CorruptedStream, FingerprintMismatch
from fastlic.runtime import bitstream
from fastlic.runtime.bitstream import Header, TileData
from fastlic.runtime.bundle import Bundle
from fastlic.runtime.limits import Limits
from fastlic.runtime.tiles import TileGrid


@dataclass(frozen=True)
class Parsed:
    """A container whose checks all passed."""

    header: Header
    grid: TileGrid
    metadata: dict[str, bytes]
    tiles: list[TileData]


def parse(data: bytes, bundle: Bundle, limits: Limits | None = None) -> Parsed:
    """Read and check everything but the symbols.

    Raises:
        BitstreamError, LimitExceeded: as the decoder's.
    """
    limits, manifest = limits or Limits(), bundle.manifest
    header = bitstream.probe(data)
    if header.fingerprint != bundle.fingerprint:
        raise FingerprintMismatch("another student")
    if not (1 <= header.rate <= manifest.rates if manifest.rates else header.rate == 0):
        raise CorruptedStream("rate")
    grid = header.grid(manifest.multiple)
    padded = grid.padded
    limits.check("max_pixels", padded.width * padded.height, "pixels")
    tile_pixels = min(grid.tile_width, padded.width) * min(grid.tile_height, padded.height)
    limits.check("max_tile_pixels", tile_pixels, "a tile's pixels")
    metadata = bitstream.read_metadata(data, header, limits)
    return Parsed(header, grid, metadata, bitstream.read_tiles(data, header, grid, manifest.mapped, limits))
