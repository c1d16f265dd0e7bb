"""Every truncation and every single-bit flip of a file: a typed error, or the symbols that were written."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tiny_student

from fastlic.errors import BitstreamError, FastlicError, FingerprintMismatch, NotALicFile, TruncatedStream
from fastlic.runtime.bundle import shipped
from fastlic.runtime.codec import Decoder, Encoder


def sections_of(data: bytes) -> dict[str, range]:
    """Section -> its bytes, CRC left out."""
    metadata_length, index_length = struct.unpack_from("<II", data, 36)
    streams = 48 + metadata_length + index_length
    return {
        "header": range(44),
        "metadata": range(48, 48 + metadata_length - 4),
        "index": range(48 + metadata_length, streams - 4),
        "streams": range(streams, len(data)),
    }


def flips(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(bit, the file with that bit changed) for every bit."""
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        yield bit, bytes(changed)


def is_refused(decoder: Decoder, data: bytes) -> bool:
    """Whether decoding raises a `BitstreamError`; any other exception passes through."""
    try:
        decoder.decode_latents(data)
    except BitstreamError:
        return True
    return False


def test_truncation_at_every_byte_raises_and_says_where(decoder: Decoder, small_file: bytes) -> None:
    for cut in range(1, len(small_file)):
        with pytest.raises(TruncatedStream, match=r"needs \d+ bytes at offset \d+, \d+ remain"):
            decoder.decode(small_file[:cut])


def test_empty_file_is_not_a_lic_file(decoder: Decoder) -> None:
    with pytest.raises(NotALicFile, match="first 8 bytes"):
        decoder.decode(b"")


@pytest.mark.parametrize("extra", [b"\0", b"\0\0\0\0", b"\xff" * 1000])
def test_bytes_after_the_last_stream_are_refused(decoder: Decoder, small_file: bytes, extra: bytes) -> None:
    with pytest.raises(BitstreamError, match=f"{len(extra)} bytes follow the last stream"):
        decoder.decode(small_file + extra)


def test_every_bit_flip_raises_a_bitstream_error(decoder: Decoder, small_file: bytes) -> None:
    for bit, damaged in flips(small_file):
        assert is_refused(decoder, damaged), f"bit {bit}: symbols came out"


def test_every_bit_flip_of_the_streams_raises_with_constriction_too(bundle_bytes: bytes, small_file: bytes) -> None:
    with Decoder(bundle_bytes, threads=1, entropy="constriction") as decoder:
        for bit, damaged in flips(small_file):
            if bit // 8 in sections_of(small_file)["streams"]:
                assert is_refused(decoder, damaged), f"bit {bit}: symbols came out"


@pytest.mark.parametrize("section", ["header", "metadata", "index"])
def test_every_bit_flip_with_the_checksum_repaired_raises_or_keeps_the_symbols(
    decoder: Decoder, small_file: bytes, section: str
) -> None:
    """With the section's CRC made right again, the fields behind it are reached one by one."""
    fields = sections_of(small_file)[section]
    symbols = decoder.decode_latents(small_file)[0]["y"]
    outcomes: Counter[str] = Counter()
    for bit, damaged in flips(small_file):
        if bit // 8 not in fields:
            continue
        try:
            found = decoder.decode_latents(tiny_student.repaired(damaged, section))[0]["y"]
        except FastlicError as error:
            outcomes[type(error).__name__] += 1
            continue
        outcomes["decoded"] += 1
        np.testing.assert_array_equal(found, symbols, err_msg=f"bit {bit}: other symbols were accepted")
    reached = {
        "header": {"NotALicFile", "UnsupportedVersion", "FingerprintMismatch", "LimitExceeded", "TruncatedStream"},
        "metadata": {"CorruptedStream", "decoded"},
        "index": {"CorruptedStream", "TruncatedStream", "SymbolMismatch"},
    }[section]
    assert reached <= outcomes.keys(), outcomes


@pytest.mark.parametrize("path", shipped(), ids=lambda path: path.stem)
def test_shipped_student_every_cut_and_bit_flip_raises(path: Path) -> None:
    with Encoder(path, threads=1) as encoder:
        data = encoder.encode(tiny_student.picture(64, 64), stream_count=2)
    with Decoder(path, threads=1) as decoder:
        for cut in range(1, len(data)):
            with pytest.raises(TruncatedStream):
                decoder.decode_latents(data[:cut])
        for bit, damaged in flips(data):
            assert is_refused(decoder, damaged), f"bit {bit}: symbols came out"


@pytest.mark.parametrize(
    "data",
    [
        b"\x89PNG\r\n\x1a\n" + bytes(100),
        b"\xff\xd8\xff\xe0" + bytes(100),
        b"PK\x03\x04" + bytes(100),
        b"hello",
        bytes(99),
    ],
    ids=["png", "jpeg", "zip", "text", "zeros"],
)
def test_foreign_file_is_not_a_lic_file(decoder: Decoder, data: bytes) -> None:
    with pytest.raises(NotALicFile, match="first 8 bytes"):
        decoder.decode(data)


def test_file_of_another_student_names_both_fingerprints(small_file: bytes) -> None:
    with (
        Decoder(tiny_student.bundle_bytes(seed=2), threads=1) as other,
        pytest.raises(FingerprintMismatch, match=rf"{small_file[16:24].hex()}.*tiny-2"),
    ):
        other.decode(small_file)


def test_failed_decode_leaves_the_output_array_alone(decoder: Decoder, small_file: bytes) -> None:
    out = np.full((64, 64, 3), 77, np.uint8)

    with pytest.raises(BitstreamError):
        decoder.decode(small_file[:-4], out=out)

    assert (out == 77).all()
