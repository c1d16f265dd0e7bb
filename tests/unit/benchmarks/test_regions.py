"""benchmarks/regions.py: which regions are taken, and that a difference is seen."""

from __future__ import annotations

import tiny_student

import fastlic
from fastlic.benchmarks import regions


def test_boxes_lie_inside_and_meet_the_corners_of_tiles() -> None:
    found = regions.boxes(3000, 2100, 90)

    assert all(0 <= left < right <= 3000 and 0 <= top < bottom <= 2100 for left, top, right, bottom in found)
    assert any(left < 1024 < right and top < 1024 < bottom for left, top, right, bottom in found)
    assert any((right - left, bottom - top) == (1, 1) for left, top, right, bottom in found)


def test_differences_are_the_largest_of_each_region() -> None:
    with fastlic.Encoder(tiny_student.bundle_bytes(), threads=1) as encoder:
        data = encoder.encode(tiny_student.picture(64, 64))
    with fastlic.Decoder(tiny_student.bundle_bytes(), threads=1) as decoder:
        whole = decoder.decode(data).astype(int)
        whole[5, 9] += 7

        assert regions.differences(decoder, data, whole, [(0, 0, 64, 64), (9, 5, 10, 6), (0, 6, 8, 8)]) == [7, 7, 0]
