from __future__ import annotations

import pytest
import torch

from fastlic.export.distill.watch import measure, measure_all
from fastlic.export.students import from_configuration
from fastlic.export.students.configuration import FIXED


@pytest.fixture
def student():
    torch.manual_seed(2)
    small = {"N": 4, "M": 6, "hyper_channels": 4, "pen_hidden": [8], "attention": False, "residual_blocks": False}
    conventions = {"student": "fu2023", "leaky_slope": 0.01, "anchor_parity": "even", **FIXED}
    return from_configuration({**conventions, **small}).eval()


def test_measure_adds_up_the_likelihoods(student):
    picture = torch.rand(1, 3, 64, 64)

    found = measure(student, picture)

    with torch.no_grad():
        bits = sum(float(-torch.log2(part).sum()) for part in student(picture).likelihoods())
    assert found.bpp == pytest.approx(bits / 4096, rel=1e-5)
    assert found.bits_z + found.bits_anchor + found.bits_nonanchor == pytest.approx(bits, rel=1e-5)
    assert found.z_share == pytest.approx(found.bits_z / bits, rel=1e-5)


def test_measure_counts_channels_that_round_to_zero(student):
    with torch.no_grad():
        student.g_a[-1].weight.zero_()
        student.g_a[-1].bias.copy_(torch.tensor([0.0, 0.4, -0.4, 5.0, 0.0, -7.0]))

    found = measure(student, torch.rand(1, 3, 64, 64))

    assert found.zero_channels == 4
    assert found.largest == 7


def test_measure_counts_outliers_that_the_likelihood_lost(student):
    with torch.no_grad():
        student.g_a[-1].weight.zero_()
        student.g_a[-1].bias.fill_(10_000.0)

    found = measure(student, torch.rand(1, 3, 64, 64))

    assert found.rare >= 6 * 4 * 4


def test_measure_all_is_the_mean_with_the_largest_of_all(student):
    pictures = [torch.rand(1, 3, 64, 64), torch.rand(1, 3, 128, 64)]

    one, two = (measure(student, picture) for picture in pictures)
    both = measure_all(student, pictures)

    assert both.psnr == pytest.approx((one.psnr + two.psnr) / 2)
    assert both.largest == max(one.largest, two.largest)
