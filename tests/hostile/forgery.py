"""Write `.lic` files that say anything, with every checksum right."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field


def crc_of(data: bytes) -> bytes:
    """CRC-32, little endian."""
    return struct.pack("<I", zlib.crc32(data))


@dataclass
class Tile:
    """A tile's index record; `words` are the lengths it claims, in 32-bit words, whatever follows."""

    channel_map: bytes = b"\x7f"
    words: tuple[int, ...] = (0,)
    symbol_crc: int = 0
    stream_count: int | None = None

    def record(self) -> bytes:
        """The record as bytes."""
        count = len(self.words) if self.stream_count is None else self.stream_count
        return self.channel_map + struct.pack(f"<B{len(self.words)}II", count, *self.words, self.symbol_crc)


@dataclass
class Forgery:
    """A file for the tiny student; fields that are None are what the rest makes them."""

    fingerprint: bytes
    width: int = 64
    height: int = 64
    tile_width: int = 1
    tile_height: int = 1
    flags: int | None = None
    rate: int = 0
    metadata: bytes = b""
    metadata_length: int | None = None
    index_length: int | None = None
    tiles: list[Tile] = field(default_factory=lambda: [Tile()])
    streams: bytes = b""

    def pack(self) -> bytes:
        """The file."""
        metadata = self.metadata + crc_of(self.metadata) if self.metadata else b""
        index = b"".join(tile.record() for tile in self.tiles)
        index += crc_of(index)
        header = struct.pack(
            "<8sBBHHH8sIIIII",
            b"\x89LIC\r\n\x1a\n",
            1,
            int(bool(metadata)) if self.flags is None else self.flags,
            self.tile_width,
            self.tile_height,
            self.rate,
            self.fingerprint,
            0,
            self.width,
            self.height,
            len(metadata) if self.metadata_length is None else self.metadata_length,
            len(index) if self.index_length is None else self.index_length,
        )
        return header + crc_of(header) + metadata + index + self.streams
