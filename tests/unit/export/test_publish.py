from __future__ import annotations

import zipfile
from io import BytesIO

import msgspec
import numpy as np
import pytest

from fastlic.errors import BundleError
from fastlic.export import publish
from fastlic.runtime.bundle import Bundle


@pytest.fixture
def parts(exported):
    with Bundle(exported.bundle) as bundle:
        return bundle.manifest, {name: bundle.member(name) for name in bundle.manifest.members}


def test_packing_is_deterministic_whatever_the_order_of_members(parts) -> None:
    manifest, members = parts

    assert publish.pack(manifest, members) == publish.pack(manifest, dict(reversed(members.items())))


def test_entries_have_one_time_and_one_mode(parts) -> None:
    packed = publish.pack(*parts)

    entries = zipfile.ZipFile(BytesIO(packed)).infolist()

    assert {entry.date_time for entry in entries} == {publish.TIMESTAMP}
    assert {entry.external_attr >> 16 for entry in entries} == {0o644}


def test_manifest_that_the_reader_refuses_is_not_packed(parts) -> None:
    manifest, members = parts
    broken = msgspec.structs.replace(manifest, schedule=())

    with pytest.raises(BundleError, match="nothing is coded"):
        publish.pack(broken, members)


def test_table_that_the_coder_refuses_is_not_packed(parts) -> None:
    manifest, members = parts
    thresholds = manifest.distributions["anchors"].thresholds
    descending = np.tile(np.arange(63, 0, -1, dtype=np.int16), (3, 1))

    with pytest.raises(BundleError, match="descend"):
        publish.pack(manifest, {**members, thresholds: publish.array_member(descending)})


def test_published_file_replaces_the_old_one_whole(parts, tmp_path) -> None:
    target = tmp_path / "student.licb"
    target.write_bytes(b"old")

    publish.publish(b"new", target)

    assert target.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [target]
