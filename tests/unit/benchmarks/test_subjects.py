from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny_student
from PIL import Image

from fastlic.benchmarks.subjects import SIZES, gather, made_up, mirrored, size_of


def test_mirrored_repeats_the_picture_without_seams() -> None:
    picture = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)

    filled = mirrored(picture, 8, 5)

    assert filled.shape == (5, 8, 3)
    np.testing.assert_array_equal(filled[:2, :3], picture)
    np.testing.assert_array_equal(filled[:2, 3:6], picture[:, ::-1])
    np.testing.assert_array_equal(filled[2:4], filled[:2][::-1])
    np.testing.assert_array_equal(filled[4], filled[0])


@pytest.mark.parametrize(("text", "size"), [("1920x1080", (1920, 1080)), ("0x5", None), ("a.png", None), ("5x", None)])
def test_size_of_reads_sizes_and_nothing_else(text: str, size: tuple[int, int] | None) -> None:
    assert size_of(text) == size


def test_gather_brings_each_picture_to_each_size(tmp_path: Path, tiny_picture: Path) -> None:
    found, failed = gather([tiny_picture], [(30, 20), (200, 100)], tmp_path)

    assert failed == {}
    assert [(each.name, each.size) for each in found] == [("cat", "30x20"), ("cat", "200x100")]
    assert Image.open(found[1].path).size == (200, 100)


def test_gather_keeps_a_picture_as_it_is_without_sizes(tmp_path: Path, tiny_picture: Path) -> None:
    (subject,), _ = gather([tiny_picture], [], tmp_path)

    np.testing.assert_array_equal(np.asarray(Image.open(subject.path)), tiny_student.picture(48, 64))


def test_gather_tells_what_cannot_be_read_and_goes_on(tmp_path: Path, tiny_picture: Path) -> None:
    found, failed = gather([tmp_path / "absent.png", tiny_picture], [], tmp_path)

    assert [each.name for each in found] == ["cat"]
    assert "No such file" in failed[str(tmp_path / "absent.png")]


def test_gather_without_a_picture_makes_one_up_in_all_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastlic.benchmarks.subjects.SIZES", SIZES[:2])

    found, _ = gather([], [], tmp_path)

    assert [each.size for each in found] == ["256x256", "512x512"]


def test_made_up_picture_has_more_coarse_than_fine_detail_and_is_the_same_each_time() -> None:
    picture = made_up(128, 64)

    power = np.abs(np.fft.rfft2(picture.mean(axis=2) - picture.mean())) ** 2
    assert picture.shape == (64, 128, 3)
    assert power[:8, :8].sum() > 20 * power[24:32, 24:32].sum()
    np.testing.assert_array_equal(picture, made_up(128, 64))
