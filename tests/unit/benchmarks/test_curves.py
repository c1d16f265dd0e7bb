from __future__ import annotations

import json

import pytest

from fastlic.benchmarks.curves import Point, anchors, bd_rate, gain_at

CURVE = [Point(0.1, 28.0, 0.90), Point(0.2, 31.0, 0.94), Point(0.4, 34.0, 0.97), Point(0.8, 37.0, 0.985)]


def _scaled(factor: float) -> list[Point]:
    return [Point(point.bpp * factor, point.psnr, point.ms_ssim) for point in CURVE]


@pytest.mark.parametrize("measure", ["psnr", "ms_ssim"])
def test_bd_rate_of_a_curve_at_nine_tenths_of_the_rate(measure):
    pytest.importorskip("bjontegaard", reason="BD-rate needs fastlic[bench]")

    assert bd_rate(CURVE, _scaled(0.9), measure) == pytest.approx(-10, abs=0.01)
    assert bd_rate(CURVE, CURVE, measure) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("tested", [CURVE[:2], [Point(1, 50), Point(2, 51), Point(3, 52)], []])
def test_bd_rate_too_few_points_or_no_common_quality_is_not_stated(tested):
    pytest.importorskip("bjontegaard", reason="BD-rate needs fastlic[bench]")

    assert bd_rate(CURVE, tested, "psnr") is None


def test_gain_at_is_read_off_between_points():
    halfway = Point((0.1 * 0.2) ** 0.5, 30.0)

    assert gain_at(CURVE, halfway, "psnr") == pytest.approx(0.5)


@pytest.mark.parametrize("point", [Point(0.05, 30.0), Point(0.9, 30.0)])
def test_gain_at_beyond_the_curve_is_not_guessed(point):
    assert gain_at(CURVE, point, "psnr") is None


def test_gain_at_ignores_points_that_cost_more_and_are_worse():
    assert gain_at([*CURVE, Point(0.3, 20.0)], Point(0.4, 35.0), "psnr") == pytest.approx(1.0)


def test_gain_at_quality_not_measured_is_none():
    assert gain_at(CURVE, Point(0.2, 31.0), "ms_ssim") is None


def test_mean_of_points_leaves_out_a_quality_that_one_lacks():
    assert Point.mean([Point(0.1, 30.0, 0.9), Point(0.3, 32.0, 0.95)]).ms_ssim == pytest.approx(0.925)
    assert Point.mean([Point(0.1, 30.0, 0.9), Point(0.3, 32.0)]) == Point(0.2, 31.0, None)


def test_anchors_reads_points_in_order_of_rate(tmp_path):
    codecs = {
        "a": {"bpp": [0.4, 0.1], "psnr_rgb": [34.0, 28.0], "ms_ssim": [0.97, 0.9]},
        "b": {"bpp": [1], "psnr_rgb": [2]},
    }
    (tmp_path / "rd.json").write_text(json.dumps({"codecs": codecs}))

    found = anchors(tmp_path / "rd.json")

    assert found["a"] == [Point(0.1, 28.0, 0.9), Point(0.4, 34.0, 0.97)]
    assert found["b"] == [Point(1, 2, None)]
