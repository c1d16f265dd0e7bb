from __future__ import annotations

import numpy as np
import pytest

from fastlic.benchmarks.curves import Point
from fastlic.benchmarks.rate_distortion import OURS, compare, draw, point

CURVE = [Point(0.1, 28.0), Point(0.2, 31.0), Point(0.4, 34.0)]


def test_point_counts_every_byte_per_pixel():
    picture = np.zeros((10, 20, 3), np.uint8)

    found = point(picture, 50, picture + 1, similar=False)

    assert found.bpp == 2
    assert found.psnr == pytest.approx(48.13, abs=0.01)
    assert found.ms_ssim is None


def test_compare_one_point_states_gains_and_no_bd_rate():
    pytest.importorskip("bjontegaard", reason="BD-rate needs fastlic[bench]")

    found = compare([Point(0.2, 31.5), Point(0.9, 40.0)], {"other": CURVE}, "psnr")

    assert found["other"]["bd_rate"] is None
    assert found["other"]["gain_db"][0] == pytest.approx(0.5)
    assert found["other"]["gain_db"][1] is None


def test_draw_writes_the_plot(tmp_path):
    pytest.importorskip("matplotlib", reason="plots need fastlic[bench]")

    draw({OURS: CURVE, "other": CURVE}, "a title", tmp_path / "plot.svg")

    text = (tmp_path / "plot.svg").read_text()
    assert "<svg" in text
