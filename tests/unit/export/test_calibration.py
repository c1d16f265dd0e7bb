from __future__ import annotations

import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from fastlic.errors import PictureError
from fastlic.export import calibration


def png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def test_pictures_of_a_folder_are_cut_to_multiples_and_one_in_four_is_held_out(tmp_path) -> None:
    (tmp_path / "deeper").mkdir()
    for number in range(8):
        (tmp_path / "deeper" / f"{number}.png").write_bytes(png(np.full((130, 200, 3), number, np.uint8)))

    found = calibration.load(tmp_path, 64)

    assert [int(picture[0, 0, 0]) for picture in found.validation] == [3, 7]
    assert len(found.calibration) == 6
    assert {picture.shape for picture in found.calibration} == {(128, 192, 3)}


def test_pictures_of_a_tar_are_read_without_unpacking(tmp_path) -> None:
    with tarfile.open(tmp_path / "set.tar", "w") as archive:
        for number, content in [(0, b"no picture"), *((n, png(np.zeros((64, 64, 3), np.uint8))) for n in range(9))]:
            member = tarfile.TarInfo(f"{number}.{'txt' if content == b'no picture' else 'png'}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))

    found = calibration.load(tmp_path / "set.tar", 64)

    assert len(found.calibration) + len(found.validation) == 9
    assert found.origin == "set.tar"


def test_large_sets_are_sampled_evenly(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(calibration, "MAX_PICTURES", 8)
    for number in range(20):
        (tmp_path / f"{number:02}.png").write_bytes(png(np.full((64, 64, 3), number, np.uint8)))

    found = calibration.load(tmp_path, 64)

    values = sorted(int(picture[0, 0, 0]) for picture in found.calibration + found.validation)
    assert values == [0, 2, 5, 7, 10, 12, 15, 17]


@pytest.mark.parametrize("count", [0, 7])
def test_too_few_pictures_are_refused_with_what_to_do(tmp_path, count: int) -> None:
    for number in range(count):
        (tmp_path / f"{number}.png").write_bytes(png(np.zeros((64, 64, 3), np.uint8)))

    with pytest.raises(PictureError, match=rf"{count} pictures .*--calibration"):
        calibration.load(tmp_path, 64)


def test_source_that_is_no_archive_is_refused(tmp_path) -> None:
    (tmp_path / "file.tar").write_bytes(b"not a tar")

    with pytest.raises(PictureError, match=r"neither a folder nor a \.tar"):
        calibration.load(tmp_path / "file.tar", 64)


def test_made_up_pictures_are_the_same_every_time_and_differ_from_each_other() -> None:
    first, second = calibration.made_up(3, 64), calibration.made_up(3, 64)

    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert not np.array_equal(first[0], first[1])
    assert all(picture.std() > 5 for picture in first)
