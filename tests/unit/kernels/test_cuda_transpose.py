"""`transpose.cu`, run by the emulator, against the twin."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from emulation.emulator import Out
from emulation.kernels import Kernels

from fastlic.errors import LimitExceeded
from fastlic.kernels.cuda import launch, twins


@pytest.mark.parametrize("bits", [16, 32])
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 33, 70), (3, 64, 32)])
def test_transpose_equals_twin_on_ragged_shapes(
    run: Kernels,
    rng: np.random.Generator,
    bits: Literal[16, 32],
    shape: tuple[int, int, int],
) -> None:
    batch, rows, columns = shape
    x = rng.integers(0, 1 << bits, shape, dtype=f"uint{bits}")
    y, expected = np.empty((batch, columns, rows), x.dtype), np.empty((batch, columns, rows), x.dtype)
    plan = launch.transpose(batch, rows, columns, bits=bits)

    run(plan, [x, rows, columns, Out(y)])
    twins.transpose(x, rows, columns, expected)

    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(y[0, :, 0], x[0, 0])


def test_launch_more_rows_than_a_grid_counts_is_refused() -> None:
    with pytest.raises(LimitExceeded, match="rows"):
        launch.transpose(1, 32 * 65535 + 1, 4, bits=16)
