from __future__ import annotations

import numpy as np
import pytest
import torch

from fastlic.export import tables
from fastlic.export.integer.folding import fold
from fastlic.export.integer.quantisation import calibrate, quantise
from fastlic.export.rate import Distributions, RateMeter
from fastlic.export.students.checkerboard import pack, unpack
from fastlic.export.students.likelihood import FAMILIES, LIKELIHOOD_FLOOR, mixture_likelihood


@pytest.fixture(scope="module")
def meter(variant) -> RateMeter:
    folded = fold(variant)
    quantised = quantise(folded, calibrate(folded, (tuple(made(variant, seed).values()) for seed in range(4))))
    made_tables = Distributions(
        prior=tables.prior_rows(variant.entropy_bottleneck),
        anchors=tables.mixture_tables(FAMILIES, 3),
        nonanchors=tables.mixture_tables(FAMILIES[:1], 3),
        levels=tables.scale_levels(),
    )
    return RateMeter(folded, quantised, variant.entropy_bottleneck, made_tables)


def made(model, seed: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    z = generator.laplace(0, 1, (model.configuration.hyper_channels, 8, 8))
    y = generator.laplace(0, 2, (model.configuration.M, 32, 32))
    return {"z": np.round(z).astype(np.int16), "y": np.round(y).astype(np.int16)}


def test_float_bits_are_those_of_the_student(meter, variant) -> None:
    tensors = made(variant, 7)
    z, y = tensors.values()
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

    assert meter.float_bits(tensors) == pytest.approx(wanted, rel=1e-4)


def test_causes_are_small_one_after_the_other(meter, variant) -> None:
    pictures = [made(variant, 8), made(variant, 9)]
    wanted = sum(map(meter.float_bits, pictures))
    steps = [meter.causes(tensors) for tensors in pictures]

    bits = {cause: sum(step[cause] for step in steps) for cause in steps[0]}

    assert tuple(bits) == ("weights", "activations", "means", "scales", "logits", "windows")
    assert abs(bits["logits"] - wanted) / wanted < 0.02
    # Where untrained networks are surely wrong (below 1e-9), an escape costs less than the float model says.
    assert (bits["windows"] - bits["logits"]) / wanted < 0.005
