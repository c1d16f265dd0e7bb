from __future__ import annotations

import json

import numpy as np
import pytest

from fastlic.benchmarks.curves import Point
from fastlic.benchmarks.rate_distortion import OURS, compare, draw, point, reuse_conventional

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


def test_reuse_conventional_takes_the_pictures_asked_for_and_refuses_others(tmp_path):
    report = tmp_path / "rd.json"
    each = {name: {"bpp": bpp, "psnr": 30.0, "ms_ssim": 0.9} for name, bpp in (("a.png", 0.1), ("b.png", 0.2))}
    report.write_text(json.dumps({"conventional": {"WebP": {"WebP 5": each}}}))

    assert reuse_conventional(report, ["b.png"]) == {"WebP": {"WebP 5": {"b.png": Point(0.2, 30.0, 0.9)}}}
    with pytest.raises(ValueError, match=r"has no c\.png"):
        reuse_conventional(report, ["a.png", "c.png"])
