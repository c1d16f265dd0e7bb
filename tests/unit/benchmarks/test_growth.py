"""benchmarks/growth.py on the tiny student: what it measures, not how much."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny_student
from PIL import Image

from fastlic.benchmarks.growth import measure, mirrored, plot

ROWS = [{"megapixels": float(n), "seconds": 0.5 * n, "gib": 1.0, "bpp": 0.3} for n in (1, 2, 4)]


def test_mirrored_repeats_the_picture_without_seams() -> None:
    picture = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)

    filled = mirrored(picture, 8, 5)

    assert filled.shape == (5, 8, 3)
    np.testing.assert_array_equal(filled[:2, :3], picture)
    np.testing.assert_array_equal(filled[:2, 3:6], picture[:, ::-1])
    np.testing.assert_array_equal(filled[2:4], filled[:2][::-1])
    np.testing.assert_array_equal(filled[4], filled[0])


def test_measure_reports_each_size_with_its_memory(tmp_path: Path) -> None:
    pytest.importorskip("resource", reason="peak memory is asked of the system by this module")
    picture, bundle = tmp_path / "picture.png", tmp_path / "tiny.licb"
    Image.fromarray(tiny_student.picture(40, 50)).save(picture)
    bundle.write_bytes(tiny_student.bundle_bytes())

    (row,) = measure(picture, str(bundle), [(100, 70)], repeats=1)

    assert row["megapixels"] == pytest.approx(0.007)
    assert row["seconds"] > 0
    assert 0.01 < row["gib"] < 2
    assert row["bpp"] > 0


def test_plot_is_the_same_file_each_time(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="draws")

    for name in ("one.svg", "two.svg"):
        plot(ROWS, tmp_path / name)

    assert "0.50 s per megapixel" in (tmp_path / "one.svg").read_text()
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
