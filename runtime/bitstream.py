"""The `.lic` container: header, metadata, tile index, streams.

Knows bytes and checksums; knows nothing of networks, latents' values or distributions.
Rule: docs/format.md, section 1. A test compares `FIELDS` with the table there.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from fastlic.errors import CorruptedStream, NotALicFile, TruncatedStream, UnsupportedVersion
from fastlic.runtime.limits import Limits
from fastlic.runtime.tiles import TileGrid

MAGIC = b"\x89LIC\r\n\x1a\n"
VERSION = 1
MAX_STREAMS = 64
_HAS_METADATA = 1

# (struct code, name), in file order; the offsets follow.
FIELDS = (
    ("8s", "magic"),
    ("B", "version"),
    ("B", "flags"),
    ("H", "tile_width"),
    ("H", "tile_height"),
    ("H", "rate"),
    ("8s", "fingerprint"),
    ("I", "student_hash"),
    ("I", "width"),
    ("I", "height"),
    ("I", "metadata_length"),
    ("I", "index_length"),
    ("I", "header_crc"),
)
_HEADER = struct.Struct("<" + "".join(code for code, _ in FIELDS))
HEADER_SIZE = _HEADER.size
_CRC = struct.Struct("<I")
_BLOCK = struct.Struct("<BI")
METADATA_KINDS = {1: "icc", 2: "exif", 3: "xmp"}


class Header(NamedTuple):
    """The fixed part of a file, checked: what `fastlic.probe` returns.

    Units: `width`, `height` in pixels; `tile_width`, `tile_height` in the bundle's padding multiple; lengths in bytes.
    `rate` is one of those that a student of several rates has, counted from 1; 0 with a student of one.
    """

    width: int
    height: int
    tile_width: int
    tile_height: int
    rate: int
    fingerprint: bytes
    student_hash: int
    metadata_length: int
    index_length: int

    @property
    def has_metadata(self) -> bool:
        """Whether an ICC profile, EXIF or XMP is in the file."""
        return self.metadata_length > 0

    def grid(self, multiple: int) -> TileGrid:
        """The picture's tiles, once the bundle's padding multiple is known."""
        return TileGrid(self.width, self.height, multiple, self.tile_width * multiple, self.tile_height * multiple)


@dataclass(frozen=True, slots=True)
class TileData:
    """One tile as the file holds it.

    Attributes:
        channel_maps: latent -> packed bits, for the latents that have a map.
        streams: the range coder's words of each stream, little endian bytes.
        symbol_crc: CRC-32 of the tile's latents, docs/format.md 1.5.
    """

    channel_maps: Mapping[str, bytes]
    streams: Sequence[bytes | memoryview]
    symbol_crc: int


def student_hash(name: str) -> int:
    """CRC-32 of a student's name, as the header carries it."""
    return zlib.crc32(name.encode())


def probe(data: bytes | bytearray | memoryview) -> Header:
    """Read and check the header alone; microseconds, whatever the picture's size.

    Args:
        data: a `.lic` file, or at least its first 48 bytes.

    Raises:
        NotALicFile: the magic is absent.
        TruncatedStream: fewer than 48 bytes.
        UnsupportedVersion: another format version.
        CorruptedStream: the header's checksum or a field's rule does not hold.
    """
    view = memoryview(data)
    if bytes(view[: len(MAGIC)]) != MAGIC[: len(view)] or not len(view):
        raise NotALicFile("not a .lic file: the first 8 bytes are not its magic number.")
    if len(view) < HEADER_SIZE:
        raise _truncated("header", HEADER_SIZE, 0, len(view))
    fields = dict(zip((name for _, name in FIELDS), _HEADER.unpack_from(view), strict=True))
    if fields["version"] != VERSION:
        raise UnsupportedVersion(
            f"format version {fields['version']}; this fastlic reads version {VERSION}. Update fastlic."
        )
    if zlib.crc32(view[: HEADER_SIZE - _CRC.size]) != fields["header_crc"]:
        raise CorruptedStream("header: the checksum does not match. The file is damaged: transfer it again.")
    if fields["flags"] & ~_HAS_METADATA:
        raise CorruptedStream("header: unknown flags are set.")
    for name in ("width", "height", "tile_width", "tile_height"):
        if not fields[name]:
            raise CorruptedStream(f"header: {name} is 0.")
    if bool(fields["flags"] & _HAS_METADATA) != (fields["metadata_length"] > 0):
        raise CorruptedStream("header: the metadata flag and the metadata length contradict each other.")
    return Header(**{name: fields[name] for name in Header._fields})


def read_metadata(data: bytes | bytearray | memoryview, header: Header, limits: Limits) -> dict[str, bytes]:
    """The file's ICC profile, EXIF and XMP, by the names "icc", "exif", "xmp".

    Raises:
        LimitExceeded: more metadata than `limits.max_metadata_bytes`.
        TruncatedStream, CorruptedStream: as the names say.
    """
    if not header.has_metadata:
        return {}
    limits.check("max_metadata_bytes", header.metadata_length, "metadata bytes")
    section = _checked(memoryview(data), "metadata", HEADER_SIZE, header.metadata_length)
    found: dict[str, bytes] = {}
    position, last = 0, 0
    while position < len(section):
        if len(section) - position < _BLOCK.size:
            raise CorruptedStream(f"metadata: a block header is cut at byte {position}.")
        kind, length = _BLOCK.unpack_from(section, position)
        position += _BLOCK.size
        if kind not in METADATA_KINDS or kind <= last or length > len(section) - position:
            raise CorruptedStream(f"metadata: block of type {kind} and length {length} breaks the rules.")
        found[METADATA_KINDS[kind]] = bytes(section[position : position + length])
        position, last = position + length, kind
    return found


def read_tiles(
    data: bytes | bytearray | memoryview, header: Header, grid: TileGrid, mapped: Mapping[str, int], limits: Limits
) -> list[TileData]:
    """Cut the file into tiles. Copies nothing but the channel maps.

    Args:
        data: the whole file.
        header: what `probe` read of it.
        grid: the tile grid that the header and the bundle give.
        mapped: latent -> channels, for the latents with a channel map, in order of first coding.
        limits: `max_tiles` is checked first.

    Raises:
        LimitExceeded: more tiles than `limits.max_tiles`.
        TruncatedStream: the data ends early.
        CorruptedStream: a checksum or length contradicts the rest, or bytes follow the last stream.
    """
    limits.check("max_tiles", grid.count, "tiles")
    view = memoryview(data)
    index_at = HEADER_SIZE + header.metadata_length
    index = _checked(view, "tile index", index_at, header.index_length)
    position, stream_at = 0, index_at + header.index_length
    tiles = []
    for tile in range(grid.count):
        maps = {}
        for latent, channels in mapped.items():
            size = (channels + 7) // 8
            bits = bytes(_take(index, position, size, tile))
            if channels % 8 and bits[-1] >> (channels % 8):
                raise CorruptedStream(f"tile[{tile}]: unused bits of a channel map are set.")
            maps[latent] = bits
            position += size
        count = _take(index, position, 1, tile)[0]
        if not 1 <= count <= MAX_STREAMS:
            raise CorruptedStream(f"tile[{tile}]: {count} streams; 1 to {MAX_STREAMS} are allowed.")
        words = struct.unpack(f"<{count + 1}I", _take(index, position + 1, 4 * (count + 1), tile))
        position += 1 + 4 * (count + 1)
        streams = []
        for number, length in enumerate(words[:-1]):
            if 4 * length > len(view) - stream_at:
                raise _truncated(f"tile[{tile}].stream[{number}]", 4 * length, stream_at, len(view) - stream_at)
            streams.append(view[stream_at : stream_at + 4 * length])
            stream_at += 4 * length
        tiles.append(TileData(maps, streams, words[-1]))
    if position != len(index):
        raise CorruptedStream(f"tile index: {len(index) - position} bytes are left over.")
    if stream_at != len(view):
        raise CorruptedStream(f"{len(view) - stream_at} bytes follow the last stream.")
    return tiles


def write(
    *,
    width: int,
    height: int,
    grid: TileGrid,
    fingerprint: bytes,
    student: str,
    metadata: Mapping[str, bytes],
    tiles: Sequence[TileData],
    rate: int = 0,
) -> bytes:
    """Assemble a file; the inverse of `probe`, `read_metadata` and `read_tiles`.

    Args:
        width: of the picture, in pixels.
        height: likewise.
        grid: the tiles it was cut into.
        fingerprint: of the bundle, 8 bytes.
        student: the student's name.
        metadata: any of "icc", "exif", "xmp"; empty values are left out.
        tiles: in row-major order of the grid.
        rate: as in `Header`.
    """
    blocks = b"".join(
        _BLOCK.pack(kind, len(metadata[name])) + metadata[name]
        for kind, name in METADATA_KINDS.items()
        if metadata.get(name)
    )
    section = blocks + _CRC.pack(zlib.crc32(blocks)) if blocks else b""
    index = b"".join(
        b"".join(tile.channel_maps.values())
        + struct.pack(
            f"<B{len(tile.streams) + 1}I",
            len(tile.streams),
            *(len(stream) // 4 for stream in tile.streams),
            tile.symbol_crc,
        )
        for tile in tiles
    )
    index += _CRC.pack(zlib.crc32(index))
    header = _HEADER.pack(
        MAGIC,
        VERSION,
        _HAS_METADATA if blocks else 0,
        grid.tile_width // grid.multiple,
        grid.tile_height // grid.multiple,
        rate,
        fingerprint,
        student_hash(student),
        width,
        height,
        len(section),
        len(index),
        0,
    )[: -_CRC.size]
    streams = b"".join(bytes(stream) for tile in tiles for stream in tile.streams)
    return header + _CRC.pack(zlib.crc32(header)) + section + index + streams


def _checked(view: memoryview, name: str, start: int, length: int) -> memoryview:
    """The section's content without its trailing CRC, once that was found right."""
    if length > len(view) - start:
        raise _truncated(name, length, start, max(0, len(view) - start))
    content = view[start : start + length - _CRC.size]
    if length < _CRC.size or _CRC.unpack_from(view, start + length - _CRC.size)[0] != zlib.crc32(content):
        raise CorruptedStream(f"{name}: the checksum does not match. The file is damaged: transfer it again.")
    return content


def _take(index: memoryview, start: int, length: int, tile: int) -> memoryview:
    if length > len(index) - start:
        raise CorruptedStream(f"tile index: ends inside tile[{tile}].")
    return index[start : start + length]


def _truncated(name: str, needed: int, offset: int, remain: int) -> TruncatedStream:
    return TruncatedStream(
        f"{name} needs {needed} bytes at offset {offset}, {remain} remain. The file is incomplete: transfer it again."
    )
