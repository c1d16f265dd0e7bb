"""The kernels' tests on the GPU itself, and maps of the sizes that students have."""

from __future__ import annotations

import numpy as np
import pytest
from gpu.device_kernels import DeviceKernels
from unit.kernels.test_cuda_deform_conv2d import *  # noqa: F403
from unit.kernels.test_cuda_deform_conv2d import Case
from unit.kernels.test_cuda_entropy import *  # noqa: F403
from unit.kernels.test_cuda_gdn import *  # noqa: F403
from unit.kernels.test_cuda_transpose import *  # noqa: F403

from fastlic.kernels.cuda import launch, twins


@pytest.mark.parametrize("reach", [1.5, 60.0, 3000.0])
@pytest.mark.parametrize(("height", "width", "channels"), [(32, 48, 128), (64, 96, 96), (128, 192, 128)])
def test_deform_conv2d_on_maps_of_students_is_accurate(
    run: DeviceKernels, rng: np.random.Generator, height: int, width: int, channels: int, reach: float
) -> None:
    """Allowed: four times the error of exact samples rounded to half once, of which the emulator saw up to 1.6."""
    case = Case(rng, (1, height, width), (channels, channels), reach=reach)
    case.offsets[0, 0, :5] = (np.nan, np.inf, -np.inf, 60000, -60000) * 3 + (0, 0, 0)
    plan = launch.deform_conv2d(
        1, height, width, channels, channels, precision="f16", multiprocessors=run.device.multiprocessors
    )

    y = case.result(run, plan)

    exact = twins.sampled(case.x, case.offsets, None).reshape(height * width, -1)
    weight, bias = case.weight.astype(np.float64).reshape(-1, channels), case.bias.astype(np.float64)
    reference = exact @ weight + bias
    once = (exact.astype(np.float16).astype(np.float64) @ weight + bias).astype(np.float16)
    assert np.isfinite(y).all()
    assert np.abs(y.reshape(reference.shape) - reference).max() <= 4 * np.abs(once - reference).max()
