"""Bundles that are as they should be; those that are not are in tests/hostile."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny_student

from fastlic.errors import StudentNotFound
from fastlic.runtime import bitstream
from fastlic.runtime import bundle as bundles
from fastlic.runtime.bundle import Bundle
from fastlic.runtime.codec import Encoder
from fastlic.runtime.entropy.tables import MixtureTables, RowTables


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Two students, as if they had been shipped."""
    paths = [tmp_path / "a.licb", tmp_path / "b.licb"]
    for seed, path in enumerate(paths, start=1):
        path.write_bytes(tiny_student.bundle_bytes(seed))
    monkeypatch.setattr(bundles, "shipped", lambda: paths)
    return paths


def header_of(seed: int) -> bitstream.Header:
    """Header of a file written with one of the tiny students."""
    with Encoder(tiny_student.bundle_bytes(seed), threads=1) as encoder:
        return bitstream.probe(encoder.encode(tiny_student.picture(8, 8)))


def test_bundle_from_bytes_and_from_path_are_the_same(tmp_path: Path) -> None:
    data = tiny_student.bundle_bytes()
    path = tmp_path / "tiny.licb"
    path.write_bytes(data)

    with Bundle(data) as from_bytes, Bundle(path) as from_path, Bundle(str(path)) as from_text:
        assert from_bytes.fingerprint == from_path.fingerprint == from_text.fingerprint
        assert from_path.manifest.name == "tiny-1"


def test_member_is_the_content_that_was_packed() -> None:
    parts = tiny_student.parts()

    with Bundle(parts.pack()) as bundle:
        assert {name: bundle.member(name) for name in bundle.manifest.members} == parts.members


def test_array_has_the_type_and_values_that_were_saved() -> None:
    expected = tiny_student.mixture_tables(("normal",))["half_cdf"]

    with Bundle(tiny_student.bundle_bytes()) as bundle:
        found = bundle.array("tables/normal_half_cdf.npy")

    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, expected)


def test_distribution_is_of_the_kind_in_the_manifest() -> None:
    with Bundle(tiny_student.bundle_bytes()) as bundle:
        prior, anchors = bundle.distribution("prior"), bundle.distribution("anchors")

    assert isinstance(prior, RowTables)
    assert prior.window.tolist() == [16, 8, 32]
    assert isinstance(anchors, MixtureTables)
    assert (anchors.families, anchors.components, anchors.skip_threshold) == (tiny_student.FAMILIES, 3, 64000)


def test_fingerprint_follows_entropy_members_and_no_others() -> None:
    original = tiny_student.parts()
    pixels, symbols = tiny_student.parts(), tiny_student.parts()
    other = tiny_student.parts(seed=2).members
    pixels.members["graphs/synthesis.onnx"] = other["graphs/synthesis.onnx"]
    symbols.members["graphs/context.onnx"] = other["graphs/context.onnx"]

    with Bundle(original.pack()) as a, Bundle(pixels.pack()) as b, Bundle(symbols.pack()) as c:
        assert a.fingerprint == b.fingerprint != c.fingerprint


def test_closed_bundle_leaves_what_was_read_valid() -> None:
    bundle = Bundle(tiny_student.bundle_bytes())
    tables = bundle.distribution("prior")
    bundle.close()

    assert tables.window.tolist() == [16, 8, 32]
    assert bundle.manifest.name == "tiny-1"


def test_shipped_lists_bundles_of_the_package_by_name() -> None:
    paths = bundles.shipped()

    assert paths == sorted(paths)
    assert all(path.suffix == ".licb" and path.parent.name == "students" for path in paths)


def test_for_file_finds_the_student_by_fingerprint(installed: list[Path]) -> None:
    with bundles.for_file(header_of(seed=2)) as bundle:
        assert bundle.manifest.name == "tiny-2"


def test_for_file_unknown_student_lists_those_at_hand(installed: list[Path]) -> None:
    header = header_of(seed=3)

    with pytest.raises(StudentNotFound, match=rf"{header.fingerprint.hex()}; installed: tiny-1 \(.*tiny-2 \(.*-m "):
        bundles.for_file(header)


def test_default_is_the_first_that_was_shipped(installed: list[Path]) -> None:
    with bundles.default() as bundle:
        assert bundle.manifest.name == "tiny-1"


def test_default_without_students_says_what_to_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundles, "shipped", list)

    with pytest.raises(StudentNotFound, match=r"-m STUDENT\.licb"):
        bundles.default()
