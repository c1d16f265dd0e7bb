"""What tests/gpu launches kernels with, over the emulated driver."""

from __future__ import annotations

import numpy as np
import pytest
from emulation.cuda import EmulatedCuda
from emulation.emulator import Changed, Out
from gpu.device_kernels import DeviceKernels

from fastlic.kernels.cuda import driver, launch


@pytest.fixture
def run(cuda: EmulatedCuda) -> DeviceKernels:
    """Launches by plan on the emulated device."""
    return DeviceKernels(driver.open_device(0))


def test_outputs_come_back_and_inputs_stay(run: DeviceKernels, rng: np.random.Generator) -> None:
    x, y = rng.integers(0, 99, (2, 5, 7)).astype(np.int16), np.empty((2, 7, 5), np.int16)
    before = x.copy()

    run(launch.transpose(2, 5, 7, bits=16), [x, 5, 7, Out(y)])

    np.testing.assert_array_equal(y, x.transpose(0, 2, 1))
    np.testing.assert_array_equal(x, before)


def test_array_that_changes_keeps_what_the_kernel_leaves(run: DeviceKernels) -> None:
    kinds, modes, y = np.full(6, 7, np.uint8), np.arange(6, dtype=np.int16), np.full((2, 6), -1, np.int16)
    nothing = np.zeros(8, np.int32)

    run(launch.scatter_symbols(6), [kinds, modes, nothing, nothing, nothing, 1, 1, 6, 0, 1, Changed(y)])

    assert y.tolist() == [[-1] * 6, list(range(6))]


def test_output_that_is_not_written_throughout_is_found(run: DeviceKernels) -> None:
    x, y = np.zeros((5, 7), np.int16), np.empty((5, 8), np.int16)

    with pytest.raises(AssertionError, match="transpose_16 did not write all of an output"):
        run(launch.transpose(1, 5, 7, bits=16), [x, 5, 7, Out(y)])
