"""Files whose checksums are right and whose fields are absurd: refused in bounded time and memory."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Iterator

import pytest
import tiny_student
from hostile.forgery import Forgery, Tile

from fastlic.errors import BitstreamError, CorruptedStream, FastlicError, LimitExceeded, SymbolMismatch, TruncatedStream
from fastlic.runtime.bundle import Bundle
from fastlic.runtime.codec import Decoder
from fastlic.runtime.limits import Limits

HUGE = 2**32 - 1
SECONDS = 5.0  # a hundred times what any of these takes: only something that grows with the claim can miss it
BYTES = 8_000_000


@pytest.fixture(scope="module")
def fingerprint(bundle_bytes: bytes) -> bytes:
    with Bundle(bundle_bytes) as bundle:
        return bundle.fingerprint


@pytest.fixture
def bounded() -> Iterator[None]:
    """The test may take neither long nor much memory."""
    tracemalloc.start()
    start = time.perf_counter()
    yield
    seconds = time.perf_counter() - start
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seconds < SECONDS
    assert peak < BYTES


FORGERIES: dict[str, tuple[dict[str, object], type[FastlicError], str]] = {
    "2^31 pixels a side": ({"width": 2**31, "height": 2**31}, LimitExceeded, "pixels: .* exceeds the limit"),
    "2^32 - 1 pixels a side": ({"width": HUGE, "height": HUGE}, LimitExceeded, "pixels: .* exceeds the limit"),
    "one row of 2^31 pixels": ({"width": 2**31, "height": 1}, LimitExceeded, "pixels: .* exceeds the limit"),
    "one tile of 64 megapixels": (
        {"width": 8192, "height": 8192, "tile_width": 128, "tile_height": 128},
        LimitExceeded,
        "a tile's pixels: .* exceeds the limit",
    ),
    "65,535 tiles": ({"width": 64 * 65535}, LimitExceeded, "pixels: 268431360 exceeds the limit"),
    "62,500 tiles of allowed pixels": ({"width": 16000, "height": 16000}, LimitExceeded, "tiles: 62500 exceeds"),
    "4,096 tiles, one listed": ({"width": 64 * 64, "height": 64 * 64}, CorruptedStream, r"ends inside tile\[1\]"),
    "one tile, two listed": ({"tiles": [Tile(), Tile()]}, CorruptedStream, "10 bytes are left over"),
    "width 0": ({"width": 0}, CorruptedStream, "width is 0"),
    "height 0": ({"height": 0}, CorruptedStream, "height is 0"),
    "tile width 0": ({"tile_width": 0}, CorruptedStream, "tile_width is 0"),
    "tile height 0": ({"tile_height": 0}, CorruptedStream, "tile_height is 0"),
    "unknown flag": ({"flags": 2}, CorruptedStream, "flags"),
    "rate of a student of one": ({"rate": 1}, CorruptedStream, "rate 1"),
    "flag without metadata": ({"flags": 1}, CorruptedStream, "metadata flag"),
    "metadata without flag": ({"flags": 0, "metadata": b"\1\0\0\0\0"}, CorruptedStream, "metadata flag"),
    "4 GB of metadata": (
        {"flags": 1, "metadata_length": HUGE},
        LimitExceeded,
        "metadata bytes: 4294967295 exceeds the limit",
    ),
    "a metadata block of 4 GB": ({"metadata": b"\1\xff\xff\xff\xff"}, CorruptedStream, "length 4294967295"),
    "metadata blocks out of order": (
        {"metadata": b"\2\0\0\0\0\1\0\0\0\0"},
        CorruptedStream,
        "block of type 1",
    ),
    "a metadata block twice": ({"metadata": b"\1\0\0\0\0" * 2}, CorruptedStream, "block of type 1"),
    "an unknown metadata block": ({"metadata": b"\4\0\0\0\0"}, CorruptedStream, "block of type 4"),
    "a cut metadata block": ({"metadata": b"\1\0\0"}, CorruptedStream, "cut"),
    "4 GB of index": ({"index_length": HUGE}, TruncatedStream, r"needs 4294967295 bytes at offset 48, 14 remain"),
    "no index": ({"index_length": 0}, CorruptedStream, "tile index: the checksum"),
    "an index shorter than its CRC": ({"index_length": 3}, CorruptedStream, "tile index: the checksum"),
    "no streams": ({"tiles": [Tile(stream_count=0)]}, CorruptedStream, "0 streams"),
    "65 streams": ({"tiles": [Tile(words=(0,) * 65)]}, CorruptedStream, "65 streams"),
    "255 streams, one listed": ({"tiles": [Tile(stream_count=255)]}, CorruptedStream, "255 streams"),
    "a stream of 16 GB": ({"tiles": [Tile(words=(HUGE,))]}, TruncatedStream, "needs 17179869180 bytes"),
    "64 streams of 16 GB": ({"tiles": [Tile(words=(HUGE,) * 64)]}, TruncatedStream, r"tile\[0\].stream\[0\]"),
    "bits for channels that are not there": (
        {"tiles": [Tile(channel_map=b"\xff")]},
        BitstreamError,
        "stream 0|checksum",
    ),
    "a stream of no words": ({}, CorruptedStream, "stream 0"),
    "64 streams of no words": ({"tiles": [Tile(words=(0,) * 64)]}, CorruptedStream, "stream"),
    "a stream of zeros": ({"tiles": [Tile(words=(9,))], "streams": bytes(36)}, BitstreamError, "stream 0|checksum"),
    "a stream of ones": ({"tiles": [Tile(words=(9,))], "streams": b"\xff" * 36}, CorruptedStream, "stream 0"),
}


@pytest.mark.parametrize(("fields", "error", "message"), FORGERIES.values(), ids=FORGERIES)
def test_forged_file_is_refused_in_bounded_time_and_memory(
    decoder: Decoder,
    fingerprint: bytes,
    fields: dict[str, object],
    error: type[FastlicError],
    message: str,
    bounded: None,
) -> None:
    data = Forgery(fingerprint, **fields).pack()

    with pytest.raises(error, match=message):
        decoder.decode(data)


def test_forged_file_of_4096_empty_tiles_stops_at_the_first(
    decoder: Decoder, fingerprint: bytes, bounded: None
) -> None:
    """The largest number of tiles that the limits allow, all of them listed, nothing in them."""
    data = Forgery(fingerprint, width=4096, height=4096, tiles=[Tile()] * 4096).pack()

    with pytest.raises(CorruptedStream, match="stream 0"):
        decoder.decode(data)


def test_forged_wrong_symbol_checksum_names_the_tile(decoder: Decoder, small_file: bytes) -> None:
    damaged = bytearray(small_file)
    index_end = 48 + int.from_bytes(small_file[36:40], "little") + int.from_bytes(small_file[40:44], "little")
    damaged[index_end - 8] ^= 1

    with pytest.raises(SymbolMismatch, match=r"tile\[0\].*fastlic verify"):
        decoder.decode(tiny_student.repaired(bytes(damaged), "index"))


def test_limits_raised_by_the_caller_are_obeyed(bundle_bytes: bytes, small_file: bytes) -> None:
    with (
        Decoder(bundle_bytes, threads=1, limits=Limits(max_pixels=64 * 64 - 1)) as strict,
        pytest.raises(LimitExceeded, match=r"4096 exceeds the limit of 4095. Pass Limits\(max_pixels=...\)"),
    ):
        strict.decode(small_file)
    with Decoder(bundle_bytes, threads=1, limits=Limits(max_pixels=64 * 64, max_tiles=1)) as exact:
        assert exact.decode(small_file).shape == (64, 64, 3)
