from __future__ import annotations

import pytest
import torch

from fastlic.export.distill.configuration import Loss, Teacher
from fastlic.export.distill.losses import channel_emphasis, hyper_weight, imitation, rate_distortion
from fastlic.export.students.fu2023 import Coded


def _coded(seed: int = 0, channels: int = 4) -> Coded:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=generator)

    return Coded(
        picture=draw(1, 3, 64, 64),
        y=draw(1, channels, 4, 4),
        z=draw(1, 2, 1, 1),
        z_likelihood=torch.full((1, 2, 1, 1), 0.5),
        anchor_likelihood=torch.full((1, channels, 4, 2), 0.25),
        nonanchor_likelihood=torch.full((1, channels, 4, 2), 0.125),
        anchor_parameters=draw(1, 30, channels, 4, 2),
        nonanchor_parameters=draw(1, 9, channels, 4, 2),
    )


def test_rate_distortion_counts_bits_and_error_in_the_stated_units():
    coded = _coded()
    picture = (coded.picture + 2 / 255).clamp(0, 2)

    found = rate_distortion(coded, picture, Loss(trade_off=0.5), 0)

    assert float(found.z_bpp) == pytest.approx(2 / 4096)
    assert float(found.anchor_bpp) == pytest.approx(2 * 32 / 4096)
    assert float(found.nonanchor_bpp) == pytest.approx(3 * 32 / 4096)
    assert float(found.mse) == pytest.approx(4, rel=1e-3)
    assert float(found.total) == pytest.approx(0.5 * 4 + float(found.bpp), rel=1e-3)


def test_rate_distortion_sparsity_counts_until_its_iteration():
    coded = _coded()
    loss = Loss(trade_off=1.0, sparsity=3.0, sparsity_iterations=10)

    during, after = (rate_distortion(coded, coded.picture, loss, iteration).total for iteration in (9, 10))

    assert float(during - after) == pytest.approx(3.0 * float(coded.y.sum()) / 4096, rel=1e-4)


def test_imitation_of_itself_is_zero_and_of_another_is_not():
    teacher = Teacher(checkpoint="unused.pt", latent=1.0)  # type: ignore[arg-type]

    assert float(imitation(_coded(), _coded(), teacher)) == 0
    assert float(imitation(_coded(), _coded(1), teacher)) > 0


@pytest.mark.parametrize("part", ["picture", "anchors", "nonanchors", "latent"])
def test_imitation_each_share_weighs_its_part_alone(part):
    shares = {"picture": 0.0, "anchors": 0.0, "nonanchors": 0.0, "latent": 0.0, part: 2.0}
    fields = {"anchors": "anchor_parameters", "nonanchors": "nonanchor_parameters", "latent": "y"}
    student, teacher = _coded(), _coded(1)

    found = imitation(student, teacher, Teacher(checkpoint="unused.pt", **shares))  # type: ignore[arg-type]

    name = fields.get(part, part)
    expected = 2 * (getattr(student, name) - getattr(teacher, name)).square().mean()
    assert float(found) == pytest.approx(float(expected))


def test_channel_emphasis_follows_the_bits_of_the_teacher():
    coded = _coded()
    coded.anchor_likelihood[:, 1] = 2.0**-10

    emphasis = channel_emphasis(coded)

    assert float(emphasis.mean()) == pytest.approx(1)
    assert float(emphasis[1] / emphasis[0]) == pytest.approx((10 + 3) / (2 + 3))


@pytest.mark.parametrize(("iteration", "weight"), [(0, 0.2), (50, 0.6), (100, 1.0), (1000, 1.0)])
def test_hyper_weight_rises_to_one(iteration, weight):
    assert hyper_weight(iteration, Loss(trade_off=1.0, hyper=0.2, hyper_iterations=100)) == pytest.approx(weight)


def test_rate_distortion_weighs_z_but_reports_all_its_bits():
    coded = _coded()
    loss = Loss(trade_off=1.0, hyper=0.0, hyper_iterations=10)

    found = rate_distortion(coded, coded.picture, loss, 0)

    assert float(found.total) == pytest.approx(float(found.bpp - found.z_bpp))
    assert float(found.z_bpp) == pytest.approx(2 / 4096)
