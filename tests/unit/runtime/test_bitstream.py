"""The container: every byte defined by docs/format.md section 1, every damage a typed error."""

from __future__ import annotations

import re
import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlic.errors import CorruptedStream, LimitExceeded, NotALicFile, TruncatedStream, UnsupportedVersion
from fastlic.runtime import bitstream
from fastlic.runtime.bitstream import TileData
from fastlic.runtime.limits import Limits
from fastlic.runtime.tiles import TileGrid

FORMAT = Path(__file__).parents[3] / "docs" / "format.md"
MAPPED = {"y": 12}
LIMITS = Limits()


def make(grid: TileGrid, tiles: list[TileData], metadata: dict[str, bytes] | None = None) -> bytes:
    return bitstream.write(
        width=grid.width,
        height=grid.height,
        grid=grid,
        fingerprint=b"12345678",
        student="tiny",
        metadata=metadata or {},
        tiles=tiles,
    )


@pytest.fixture
def grid() -> TileGrid:
    return TileGrid(width=100, height=70, multiple=64, tile_width=64, tile_height=128)


@pytest.fixture
def file(grid: TileGrid) -> bytes:
    tiles = [
        TileData({"y": b"\xff\x0f"}, [b"abcdefgh", b""], 7),
        TileData({"y": b"\x01\x00"}, [b"ijkl"], 2**32 - 1),
    ]
    return make(grid, tiles, {"icc": b"profile", "xmp": b"<x/>"})


def read(data: bytes, grid: TileGrid) -> list[TileData]:
    header = bitstream.probe(data)
    bitstream.read_metadata(data, header, LIMITS)
    return bitstream.read_tiles(data, header, grid, MAPPED, LIMITS)


def repaired(data: bytearray, start: int, end: int) -> bytes:
    """`data` with the CRC that follows [start, end) made right."""
    struct.pack_into("<I", data, end, zlib.crc32(data[start:end]))
    return bytes(data)


def test_header_fields_match_the_document() -> None:
    table = FORMAT.read_text().split("### 1.1")[1].split("### 1.2")[0]
    rows = re.findall(r"^\| (\d+) \| (\S+?)(?: bytes)? \| `(\w+)`", table, re.MULTILINE)
    kinds = {"u8": "B", "u16": "H", "u32": "I", "8": "8s"}
    offsets = [struct.calcsize("<" + "".join(code for code, _ in bitstream.FIELDS[:n])) for n in range(99)]

    assert [(int(at), kinds[kind], name) for at, kind, name in rows] == [
        (offsets[n], code, name) for n, (code, name) in enumerate(bitstream.FIELDS)
    ]


def packed(header: bitstream.Header) -> bytes:
    """The 48 bytes of a header, by the table of docs/format.md."""
    values = header._asdict() | {"magic": bitstream.MAGIC, "version": 1, "flags": int(header.has_metadata)}
    codes = "".join(code for code, name in bitstream.FIELDS if name != "header_crc")
    names = [name for _, name in bitstream.FIELDS if name != "header_crc"]
    fields = struct.pack(f"<{codes}", *(values[name] for name in names))
    return fields + struct.pack("<I", zlib.crc32(fields))


u16, u32 = st.integers(0, 2**16 - 1), st.integers(0, 2**32 - 1)


@given(
    st.builds(
        bitstream.Header,
        width=u32.filter(bool),
        height=u32.filter(bool),
        tile_width=u16.filter(bool),
        tile_height=u16.filter(bool),
        rate=u16,
        fingerprint=st.binary(min_size=8, max_size=8),
        student_hash=u32,
        metadata_length=u32,
        index_length=u32,
    )
)
def test_probe_any_header_reads_back_equal(header: bitstream.Header) -> None:
    assert bitstream.probe(packed(header)) == header


@given(st.binary(min_size=36, max_size=36), st.sampled_from([b"\0", b"\1", b"\2"]))
def test_probe_any_fields_with_the_right_crc_raise_or_are_the_only_form_of_that_header(
    fields: bytes, flags: bytes
) -> None:
    body = bitstream.MAGIC + b"\1" + flags + fields[:34]
    data = body + struct.pack("<I", zlib.crc32(body))
    try:
        header = bitstream.probe(data)
    except CorruptedStream:
        return
    assert packed(header) == data


@given(
    width=st.integers(1, 700),
    height=st.integers(1, 700),
    edges=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    metadata=st.dictionaries(st.sampled_from(["icc", "exif", "xmp"]), st.binary(min_size=1, max_size=50)),
    data=st.data(),
)
def test_written_file_reads_back_equal(width, height, edges, metadata, data) -> None:
    grid = TileGrid(width, height, 64, edges[0] * 64, edges[1] * 64)
    stream = st.binary(max_size=5).map(lambda part: part * 4)
    tiles = [
        TileData(
            {"y": bytes([data.draw(st.integers(0, 255)), data.draw(st.integers(0, 15))])},
            data.draw(st.lists(stream, min_size=1, max_size=3)),
            data.draw(st.integers(0, 2**32 - 1)),
        )
        for _ in range(grid.count)
    ]

    written = make(grid, tiles, metadata)
    header = bitstream.probe(written)

    assert (header.width, header.height, header.fingerprint) == (width, height, b"12345678")
    assert header.student_hash == bitstream.student_hash("tiny")
    assert bitstream.read_metadata(written, header, LIMITS) == metadata
    assert read(written, grid) == tiles


def test_every_truncation_raises(file: bytes, grid: TileGrid) -> None:
    for cut in range(len(file)):
        with pytest.raises((TruncatedStream, NotALicFile)) as caught:
            read(file[:cut], grid)
        if cut >= 8:
            assert re.search(r"needs \d+ bytes at offset \d+, \d+ remain", str(caught.value))


def test_every_flip_before_the_streams_raises(file: bytes, grid: TileGrid) -> None:
    for bit in range(8 * (len(file) - 12)):
        damaged = bytearray(file)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises((CorruptedStream, TruncatedStream, NotALicFile, UnsupportedVersion)):
            read(bytes(damaged), grid)


def test_bytes_after_the_last_stream_raise(file: bytes, grid: TileGrid) -> None:
    with pytest.raises(CorruptedStream, match="1 bytes follow the last stream"):
        read(file + b"\0", grid)


@pytest.mark.parametrize(
    ("offset", "value", "message"),
    [
        (9, 0xFE, "unknown flags"),
        (9, 0, "contradict"),
        (10, 0, "tile_width is 0"),
        (28, 0, "width is 0"),
        (32, 0, "height is 0"),
    ],
)
def test_probe_bad_field_with_right_checksum_raises(file: bytes, offset: int, value: int, message: str) -> None:
    damaged = bytearray(file)
    struct.pack_into("<B" if offset == 9 else "<H" if offset < 16 else "<I", damaged, offset, value)

    with pytest.raises(CorruptedStream, match=message):
        bitstream.probe(repaired(damaged, 0, 44))


def test_probe_needs_only_the_header(file: bytes) -> None:
    assert bitstream.probe(file[:48]).width == 100


def test_probe_newer_version_is_refused(file: bytes) -> None:
    damaged = bytearray(file)
    damaged[8] = 2

    with pytest.raises(UnsupportedVersion, match="version 2"):
        bitstream.probe(bytes(damaged))


def test_stream_length_beyond_the_file_raises_and_says_where(grid: TileGrid) -> None:
    tiles = [TileData({"y": b"\1\0"}, [b"abcd"], 0), TileData({"y": b"\1\0"}, [b"abcd"], 0)]
    damaged = bytearray(make(grid, tiles))
    struct.pack_into("<I", damaged, 48 + 3, 2**32 - 1)

    with pytest.raises(TruncatedStream, match=r"tile\[0\].stream\[0\] needs 17179869180 bytes at offset 74, 8 remain"):
        read(repaired(damaged, 48, len(damaged) - 12), grid)


@pytest.mark.parametrize("count", [0, 65, 255])
def test_stream_count_out_of_range_raises(grid: TileGrid, count: int) -> None:
    tiles = [TileData({"y": b"\1\0"}, [b""], 0), TileData({"y": b"\1\0"}, [b""], 0)]
    damaged = bytearray(make(grid, tiles))
    damaged[48 + 2] = count

    with pytest.raises(CorruptedStream, match=f"{count} streams"):
        read(repaired(damaged, 48, len(damaged) - 4), grid)


def test_unused_map_bits_raise(grid: TileGrid) -> None:
    tiles = [TileData({"y": b"\1\x10"}, [b""], 0), TileData({"y": b"\1\0"}, [b""], 0)]

    with pytest.raises(CorruptedStream, match="unused bits"):
        read(make(grid, tiles), grid)


def test_metadata_block_out_of_order_raises(file: bytes) -> None:
    damaged = bytearray(file)
    damaged[48] = 3  # the first block is now XMP, and so is the second
    header = bitstream.probe(file)

    with pytest.raises(CorruptedStream, match="block of type 3"):
        bitstream.read_metadata(repaired(damaged, 48, 48 + header.metadata_length - 4), header, LIMITS)


def test_limits_are_checked_before_the_data(file: bytes, grid: TileGrid) -> None:
    header = bitstream.probe(file)

    with pytest.raises(LimitExceeded, match="metadata bytes"):
        bitstream.read_metadata(file, header, Limits(max_metadata_bytes=header.metadata_length - 1))
    with pytest.raises(LimitExceeded, match="tiles: 2 exceeds the limit of 1"):
        bitstream.read_tiles(file, header, grid, MAPPED, Limits(max_tiles=1))
