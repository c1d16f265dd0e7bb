from __future__ import annotations

import numpy as np
import pytest
import torch

from fastlic.export import tables
from fastlic.export.integer.folding import fold
from fastlic.export.integer.quantisation import calibrate, quantise
from fastlic.export.rate import CAUSES, Distributions, RateMeter, measure_all
from fastlic.export.students.checkerboard import pack, unpack
from fastlic.export.students.likelihood import FAMILIES, LIKELIHOOD_FLOOR, mixture_likelihood


@pytest.fixture(scope="module")
def meter(variant) -> RateMeter:
    folded = fold(variant)
    quantised = quantise(folded, calibrate(folded, (made(variant, seed) for seed in range(4))))
    made_tables = Distributions(
        prior=tables.prior_rows(variant.entropy_bottleneck),
        anchors=tables.mixture_tables(FAMILIES, 3),
        nonanchors=tables.mixture_tables(FAMILIES[:1], 3),
        levels=tables.scale_levels(),
    )
    return RateMeter(folded, quantised, variant.entropy_bottleneck, made_tables)


def made(model, seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    z = generator.laplace(0, 1, (model.configuration.hyper_channels, 8, 8))
    y = generator.laplace(0, 2, (model.configuration.M, 32, 32))
    return np.round(z).astype(np.int16), np.round(y).astype(np.int16)


def test_float_bits_are_those_of_the_student(meter, variant) -> None:
    z, y = made(variant, 7)
    parity = variant.configuration.parity
    values = torch.from_numpy(y).float()[None]
    with torch.no_grad():
        z_hat = torch.from_numpy(z).float()[None] + variant.entropy_bottleneck.medians()[:, None, None]
        hyper = variant.h_s(z_hat)
        likelihoods = (
            variant.entropy_bottleneck.likelihood(z_hat),
            mixture_likelihood(pack(values, parity), variant.anchor_parameters(hyper), FAMILIES, 3),
            mixture_likelihood(
                pack(values, 1 - parity),
                variant.nonanchor_parameters(hyper, unpack(pack(values, parity), parity)),
                FAMILIES[:1],
                3,
            ),
        )
    wanted = sum(float(-torch.log2(each.clamp_min(LIKELIHOOD_FLOOR)).sum()) for each in likelihoods)

    assert meter.measure(z, y).float_bits == pytest.approx(wanted, rel=1e-4)


def test_causes_add_up_to_a_small_total(meter, variant) -> None:
    cost = measure_all(meter, [made(variant, 8), made(variant, 9)])

    assert tuple(cost.added) == CAUSES
    # Where untrained networks are surely wrong (below 1e-9), an escape costs less than the float model says, and
    # skipping saves what it changes.
    added = dict(cost.added)
    assert added.pop("windows") / cost.float_bits < 0.005
    assert added.pop("skip") <= 0
    assert abs(sum(added.values())) / cost.float_bits < 0.02
    assert cost.summary()["total"] == pytest.approx(sum(cost.added.values()) / cost.float_bits, abs=1e-6)
    assert cost.elements == 2 * variant.configuration.M * 32 * 32
