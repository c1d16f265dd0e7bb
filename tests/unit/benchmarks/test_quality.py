from __future__ import annotations

import math

import numpy as np
import pytest

from fastlic.benchmarks.quality import MS_SSIM_MINIMUM, ms_ssim, ms_ssim_db, psnr


def test_psnr_of_an_error_of_one_level_everywhere():
    source = np.full((4, 5, 3), 200, np.uint8)

    assert psnr(source, source - 1) == pytest.approx(20 * math.log10(255))


def test_psnr_does_not_wrap_around_zero():
    dark, bright = np.zeros((2, 2, 3), np.uint8), np.full((2, 2, 3), 255, np.uint8)

    assert psnr(dark, bright) == pytest.approx(psnr(bright, dark)) == pytest.approx(0)


def test_psnr_equal_pictures_is_infinite():
    assert psnr(np.ones((2, 2, 3), np.uint8), np.ones((2, 2, 3), np.uint8)) == math.inf


def test_ms_ssim_falls_with_noise(rng):
    pytest.importorskip("pytorch_msssim", reason="MS-SSIM needs fastlic[bench]")
    source = rng.integers(60, 190, (MS_SSIM_MINIMUM, MS_SSIM_MINIMUM, 3), dtype=np.uint8)
    little, much = (np.clip(source + rng.normal(0, s, source.shape), 0, 255).astype(np.uint8) for s in (4, 40))

    assert ms_ssim(source, source) == pytest.approx(1)
    assert 1 > ms_ssim(source, little) > ms_ssim(source, much)


def test_ms_ssim_db_of_a_tenth_missing_is_ten():
    assert ms_ssim_db(0.9) == pytest.approx(10)
    assert math.isfinite(ms_ssim_db(1.0))
