"""`gdn.cu`, run by the emulator, against the twin in float64.

Tolerance: a square is rounded to half (2^-11 of it, so as much of a sum of them, half as much of its root), the result
likewise: 1.5 * 2^-11 of it, and with float roundings in between 2^-10. A shortcut adds its own size to what is rounded.
"""

from __future__ import annotations

import numpy as np
import pytest
from emulation.emulator import Out
from emulation.kernels import Kernels

from fastlic.errors import EngineUnavailable, LimitExceeded
from fastlic.kernels.cuda import launch, twins


def inputs(rng: np.random.Generator, pixels: int, channels: int, magnitude: float = 1.0) -> list[np.ndarray]:
    """x, gamma, beta, residual of a plausible layer."""
    x = (rng.standard_normal((pixels, channels)) * magnitude).astype(np.float16)
    gamma = (0.1 * np.eye(channels) + rng.random((channels, channels)) * 0.02).astype(np.float16)
    beta = (0.5 + rng.random(channels)).astype(np.float32)
    return [x, gamma, beta, rng.standard_normal((pixels, channels)).astype(np.float16)]


def assert_matches(run: Kernels, arrays: list[np.ndarray], inverse: bool, has_residual: bool) -> None:
    x, _, _, residual = arrays
    pixels, channels = x.shape
    y, expected = np.empty_like(x), np.empty(x.shape)
    scalars = [pixels, channels, int(inverse), int(has_residual)]
    plan = launch.gdn(pixels, channels)

    run(plan, [*arrays, *scalars, Out(y)])
    twins.gdn(*arrays, *scalars, expected)

    without = expected - residual if has_residual else expected
    allowed = 2.0**-10 * np.maximum(np.abs(without), np.abs(expected)) + 2.0**-24
    assert np.isfinite(expected).all()
    assert (np.abs(y - expected) <= allowed).all()


@pytest.mark.parametrize("channels", [64, 96, 128, 192, 256])
@pytest.mark.parametrize("inverse", [False, True])
def test_gdn_equals_twin_for_every_instance(
    run: Kernels, rng: np.random.Generator, channels: int, inverse: bool
) -> None:
    assert_matches(run, inputs(rng, 70, channels), inverse, has_residual=True)


@pytest.mark.parametrize("channels", [8, 40, 104, 200])
def test_gdn_equals_twin_for_widths_between_instances(run: Kernels, rng: np.random.Generator, channels: int) -> None:
    assert_matches(run, inputs(rng, 5, channels), inverse=False, has_residual=False)


def test_gdn_squares_beyond_half_precision_neither_overflow_nor_vanish(run: Kernels, rng: np.random.Generator) -> None:
    """Pixels from 2^-12 to 2^13 in turn: squares from 2^-24 to 2^26; half ends at 2^16."""
    arrays = inputs(rng, 26, 64)
    arrays[0] = (rng.uniform(0.5, 1.5, (26, 64)) * 2.0 ** np.arange(-12, 14)[:, None]).astype(np.float16)
    arrays[2][:] = 1e-6

    assert_matches(run, arrays, inverse=False, has_residual=False)


def test_gdn_pixel_of_zeros_is_zero(run: Kernels, rng: np.random.Generator) -> None:
    arrays = inputs(rng, 3, 8)
    arrays[0][1] = 0

    assert_matches(run, arrays, inverse=True, has_residual=False)


def test_gdn_infinite_value_stays_in_its_pixel(run: Kernels, rng: np.random.Generator) -> None:
    arrays = inputs(rng, 4, 16)
    arrays[0][2, 3] = np.inf
    y = np.empty_like(arrays[0])

    run(launch.gdn(4, 16), [*arrays, 4, 16, 1, 0, Out(y)])

    np.testing.assert_array_equal(np.isfinite(y).all(axis=1), [True, True, False, True])


@pytest.mark.parametrize("channels", [0, 12, 264])
def test_launch_unsupported_width_is_refused(channels: int) -> None:
    with pytest.raises(EngineUnavailable, match=f"{channels} channels"):
        launch.gdn(10, channels)


def test_launch_too_many_pixels_are_refused() -> None:
    with pytest.raises(LimitExceeded, match="pixels"):
        launch.gdn(1 << 26, 8)
