from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from fastlic.errors import VerificationFailed
from fastlic.export import halo


def averaging(reach: int):
    """A transform whose every output sees `reach` pixels on each side, at full weight."""
    kernel = torch.ones(1, 1, 2 * reach + 1, 2 * reach + 1)
    return lambda x: functional.conv2d(x, kernel, padding=reach)


@pytest.mark.parametrize(("reach", "expected"), [(5, 32), (16, 32), (17, 48), (40, 64)])
def test_halo_covers_the_reach_and_one_step_more(reach: int, expected: int) -> None:
    length = halo.CORE + 2 * halo.MAX_HALO
    strips = [torch.rand(1, 1, 16, length), torch.rand(1, 1, length, 16)]

    assert halo.measure(averaging(reach), strips, 1, "averaging") == expected


def test_transform_that_sees_everything_is_refused() -> None:
    strip = torch.rand(1, 1, 16, 2 * halo.CORE + 2 * halo.MAX_HALO)

    with pytest.raises(VerificationFailed, match="global: windows differ"):
        halo.measure(lambda x: x - x.sum(), [strip], 1, "global")


def test_strip_repeats_pictures_until_it_is_long_enough() -> None:
    pictures = [np.full((70, 100, 3), 1, np.uint8), np.full((64, 30, 3), 2, np.uint8)]

    strip = halo.strip_of(pictures, length=240)

    assert strip.shape == (64, 260, 3)
    assert strip[0, [0, 99, 100, 129, 130, 259], 0].tolist() == [1, 1, 2, 2, 1, 2]
