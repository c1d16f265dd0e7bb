"""Archives that are not what they should be: each is a `BundleError` before anything harmful is done with them."""

from __future__ import annotations

import io
import json
import random
import struct
import tracemalloc
import warnings
import zipfile
from collections import Counter
from pathlib import Path

import pytest
import tiny_student

from fastlic.errors import BundleError, FastlicError, LimitExceeded
from fastlic.runtime.bundle import Bundle
from fastlic.runtime.limits import Limits

END_RECORD = b"PK\x05\x06"
CENTRAL_RECORD = b"PK\x01\x02"


def read_whole(data: bytes, limits: Limits | None = None) -> bytes:
    """Open a bundle and read all of it; returns its fingerprint."""
    with Bundle(data, limits) as bundle:
        for name in bundle.manifest.members:
            bundle.member(name)
        for name in bundle.manifest.distributions:
            bundle.distribution(name)
        return bundle.fingerprint


def archive(entries: list[tuple[str, bytes]], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """An archive of entries that may repeat, or have any name."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as written, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # zipfile's own about duplicates
        for name, content in entries:
            written.writestr(zipfile.ZipInfo(name), content, compression)
    return stream.getvalue()


def entries_of(parts: tiny_student.Parts) -> list[tuple[str, bytes]]:
    """All entries, a truthful manifest first."""
    parts.list_members()
    return [("manifest.json", json.dumps(parts.manifest).encode()), *parts.members.items()]


@pytest.mark.parametrize("data", [b"", b"PK", b"\x89LIC\r\n\x1a\n" + bytes(99), b"{}", bytes(1000)])
def test_foreign_bytes_are_not_a_bundle(data: bytes) -> None:
    with pytest.raises(BundleError, match="not a bundle"):
        Bundle(data)


def test_missing_path_and_folder_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing.licb", tmp_path):
        with pytest.raises(BundleError, match=f"{path.name}: cannot be opened"):
            Bundle(path)


def test_other_archive_is_not_a_bundle() -> None:
    with pytest.raises(BundleError, match=r"there is no manifest\.json"):
        Bundle(archive([("readme.txt", b"hello")]))


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "/etc/evil",
        "graphs/../../evil",
        "c:/evil",
        "a\\b",
        "evil/",
        ".hidden",
        "a//b",
        "./a",
        "Evil",
        "\u00e9",
    ],
)
def test_unsafe_entry_name_is_refused(name: str) -> None:
    parts = tiny_student.parts()
    parts.members[name] = b"evil"

    with pytest.raises(BundleError, match="unsafe entry name"):
        Bundle(parts.pack())


def test_entry_twice_is_refused() -> None:
    entries = entries_of(tiny_student.parts())

    with pytest.raises(BundleError, match="twice"):
        Bundle(archive([*entries, entries[1]]))


def test_second_manifest_is_refused() -> None:
    entries = entries_of(tiny_student.parts())

    with pytest.raises(BundleError, match="twice"):
        Bundle(archive([*entries, entries[0]]))


def test_too_many_entries_are_refused() -> None:
    entries = entries_of(tiny_student.parts())

    with pytest.raises(BundleError, match="256 are allowed"):
        Bundle(archive([*entries, *((f"extra{number}", b"") for number in range(256))]))


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compression_is_refused(compression: int) -> None:
    with pytest.raises(BundleError, match="compressed in an unknown way"):
        Bundle(archive(entries_of(tiny_student.parts()), compression))


def test_encrypted_entry_is_refused() -> None:
    data = bytearray(tiny_student.bundle_bytes())
    data[6] |= 1
    data[data.index(CENTRAL_RECORD) + 8] |= 1

    with pytest.raises(BundleError, match="encrypted"):
        Bundle(bytes(data))


def test_unlisted_member_is_named() -> None:
    parts = tiny_student.parts()
    parts.list_members()
    parts.members["extra.bin"] = b"?"

    with pytest.raises(BundleError, match=r"extra\.bin is not listed"):
        Bundle(parts.pack(relist=False))


def test_missing_member_is_named() -> None:
    parts = tiny_student.parts()
    parts.list_members()
    del parts.members["graphs/hyper.onnx"]

    with pytest.raises(BundleError, match=r"graphs/hyper\.onnx is missing"):
        Bundle(parts.pack(relist=False))


def test_member_of_another_size_is_named() -> None:
    parts = tiny_student.parts()
    parts.list_members()
    parts.members["graphs/hyper.onnx"] += b"\0"

    with pytest.raises(BundleError, match=r"graphs/hyper\.onnx has \d+ bytes, the manifest says \d+"):
        Bundle(parts.pack(relist=False))


def test_member_with_another_hash_is_named_when_it_is_used() -> None:
    parts = tiny_student.parts()
    parts.list_members()
    content = parts.members["graphs/hyper.onnx"]
    parts.members["graphs/hyper.onnx"] = content[:-1] + bytes([content[-1] ^ 1])

    with (
        Bundle(parts.pack(relist=False)) as bundle,
        pytest.raises(BundleError, match=r"graphs/hyper\.onnx is not what the manifest lists \(SHA-256\)"),
    ):
        bundle.member("graphs/hyper.onnx")


def test_bomb_of_honest_size_is_refused_before_inflating() -> None:
    parts = tiny_student.parts()
    data = archive([*entries_of(parts), ("zeros.bin", bytes(2**24))])
    tracemalloc.start()
    with pytest.raises(LimitExceeded, match=r"inflated bytes: \d+ exceeds the limit of 16777216"):
        Bundle(data, Limits(max_bundle_bytes=2**24))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20


def test_bomb_that_lies_about_its_size_inflates_no_further_than_it_says() -> None:
    parts = tiny_student.parts()
    parts.members["zeros.bin"] = bytes(100)
    parts.list_members()
    parts.members["zeros.bin"] = bytes(2**24)
    data = bytearray(parts.pack(relist=False))
    struct.pack_into("<I", data, data.rindex(CENTRAL_RECORD) + 24, 100)
    tracemalloc.start()
    with Bundle(bytes(data)) as bundle, pytest.raises(BundleError, match=r"zeros\.bin"):
        bundle.member("zeros.bin")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**21


def test_large_manifest_is_refused_before_parsing() -> None:
    with pytest.raises(BundleError, match=r"manifest\.json is larger than 4194304 bytes"):
        Bundle(archive([("manifest.json", b" " * (4_194_304 + 1))]))


def test_unknown_major_version_asks_for_an_update() -> None:
    parts = tiny_student.parts()
    parts.manifest["format"] = [2, 0]

    with pytest.raises(BundleError, match=r"format 2; this fastlic reads format 1\. Update fastlic"):
        Bundle(parts.pack())


def test_newer_minor_version_is_read() -> None:
    parts = tiny_student.parts()
    parts.manifest["format"] = [1, 7]

    assert read_whole(parts.pack()) == read_whole(tiny_student.bundle_bytes())


def test_flips_in_the_structure_of_an_archive_raise_or_change_nothing() -> None:
    """Three random bits of every 10 bytes of headers and directory; contents are covered by SHA-256."""
    data = tiny_student.bundle_bytes()
    fingerprint = read_whole(data)
    with zipfile.ZipFile(io.BytesIO(data)) as opened:
        places = list(range(opened.start_dir, len(data)))
        for entry in opened.infolist():
            places += range(entry.header_offset, entry.header_offset + 30 + len(entry.filename))
    rng = random.Random(5)
    outcomes: Counter[str] = Counter()
    for _ in range(3 * len(places) // 10):
        damaged = bytearray(data)
        damaged[rng.choice(places)] ^= 1 << rng.randrange(8)
        try:
            assert read_whole(bytes(damaged)) == fingerprint
            outcomes["unchanged"] += 1
        except FastlicError as error:
            outcomes[type(error).__name__] += 1
    assert outcomes["BundleError"] > 100 < outcomes["unchanged"], outcomes


@pytest.mark.parametrize("cut", [0.1, 0.5, 0.9, 0.99])
def test_truncated_archive_is_not_a_bundle(cut: float) -> None:
    data = tiny_student.bundle_bytes()

    with pytest.raises(BundleError, match="not a bundle"):
        Bundle(data[: int(cut * len(data))])


def test_archive_whose_directory_is_cut_is_not_a_bundle() -> None:
    data = tiny_student.bundle_bytes()

    with pytest.raises(BundleError, match="not a bundle"):
        Bundle(data[: data.rindex(END_RECORD)])
