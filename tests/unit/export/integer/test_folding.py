from __future__ import annotations

import numpy as np
import torch

from fastlic.export.integer.folding import LOGIT_UNIT, MEAN_UNIT, SCALE_UNIT, fold
from fastlic.export.students.checkerboard import pack, unpack
from fastlic.export.students.fu2023 import Fu2023


def in_format_order(parameters: torch.Tensor, components: int) -> np.ndarray:
    """(P, M, h, w / 2) in the checkpoint's order -> (h, w / 2, M, P) in the format's order and units."""
    numbers = parameters.permute(2, 3, 1, 0).numpy()
    count = 3 * components
    kinds = (
        numbers[..., 0:count:3] * LOGIT_UNIT,
        numbers[..., 1:count:3] * MEAN_UNIT,
        numbers[..., 2:count:3] * SCALE_UNIT,
    )
    return np.concatenate((*kinds, numbers[..., count:] * LOGIT_UNIT), axis=-1)


def test_folded_network_equals_the_student_in_order_and_unit_of_the_format(variant: Fu2023, made_latents) -> None:
    z, y = made_latents(variant, 12, 16, seed=5)
    parity = variant.configuration.parity
    values = torch.from_numpy(y).float()[None]
    with torch.no_grad():
        medians = variant.entropy_bottleneck.medians()[None, :, None, None]
        hyper = variant.h_s(torch.from_numpy(z).float()[None] + medians)
        anchors = variant.anchor_parameters(hyper)[0]
        nonanchors = variant.nonanchor_parameters(hyper, unpack(pack(values, parity), parity))[0]

    folded_anchors, folded_nonanchors = fold(variant).evaluate(z, y)

    # Both are float32 sums in different orders: a few units in the last place of the largest.
    np.testing.assert_allclose(folded_anchors, in_format_order(anchors, 9), rtol=1e-4, atol=5e-3)
    np.testing.assert_allclose(folded_nonanchors, in_format_order(nonanchors, 3), rtol=1e-4, atol=5e-3)


def test_folding_keeps_only_the_living_taps_of_the_context(tiny: Fu2023) -> None:
    context = fold(tiny).nonanchor[0].sources[1]

    assert len(context.taps) == 12
    assert all((row + column) % 2 for row, column in context.taps)
