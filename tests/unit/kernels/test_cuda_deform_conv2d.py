"""`deform_conv2d*.cu`, run by the emulator on small maps, against the twin in float64.

Tolerance of the half kernel: at most twice the error of the plain formula in half precision, which interpolates with
every operation rounded to half, then multiplies with sums in float.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from emulation.emulator import Out
from emulation.kernels import Kernels

from fastlic.errors import EngineUnavailable, LimitExceeded
from fastlic.kernels.cuda import launch, twins


class Case:
    """Random inputs of one call, and its results."""

    def __init__(
        self,
        rng: np.random.Generator,
        shape: tuple[int, int, int],
        channels: tuple[int, int],
        *,
        dtype: Any = np.float16,
        reach: float = 2.0,
        offset_stride: int = 18,
        mask_stride: int = 0,
        slope: float = 1.0,
    ) -> None:
        batch, height, width = shape
        self.x = rng.standard_normal((*shape, channels[0])).astype(dtype)
        self.offsets = (rng.standard_normal((*shape, offset_stride)) * reach).astype(dtype)
        self.mask = rng.random((*shape, mask_stride)).astype(dtype) if mask_stride else self.offsets
        self.weight = (rng.standard_normal((9, *channels)) / np.sqrt(9 * channels[0])).astype(dtype)
        self.bias = rng.standard_normal(channels[1]).astype(dtype)
        self.scalars = [height, width, *channels, offset_stride, mask_stride, int(np.float32(slope).view(np.int32))]
        self.slope = slope
        self.batch = batch

    def reference(self) -> np.ndarray:
        """The twin's result in float64."""
        y = np.empty((*self.x.shape[:3], self.bias.size))
        twins.deform_conv2d(self.x, self.offsets, self.mask, self.weight, self.bias, *self.scalars, y)
        return y

    def result(self, run: Kernels, plan: launch.Launch, reverse: bool = False) -> np.ndarray:
        """The kernel's result."""
        y = np.empty((*self.x.shape[:3], self.bias.size), self.x.dtype)
        arrays = [self.x, self.offsets, self.mask, self.weight, self.bias]
        run(plan, [*arrays, *self.scalars, Out(y)], reverse)
        return y

    def plain_half(self) -> np.ndarray:
        """The result of the formula in which every operation on samples rounds to half and sums are in float."""
        columns = np.zeros((*self.x.shape[:3], 9, self.x.shape[3]), np.float16)
        height, width = self.x.shape[1:3]
        for b, py, px, tap in np.ndindex(*columns.shape[:4]):
            y = py - 1 + tap // 3 + np.float32(self.offsets[b, py, px, 2 * tap])
            x = px - 1 + tap % 3 + np.float32(self.offsets[b, py, px, 2 * tap + 1])
            if not (-1 < y < height and -1 < x < width):
                continue
            top, left = int(np.floor(y)), int(np.floor(x))
            for row, column in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
                if 0 <= row < height and 0 <= column < width:
                    share = np.float16((1 - abs(y - row)) * (1 - abs(x - column)))
                    columns[b, py, px, tap] += share * self.x[b, row, column]
            if self.mask is not self.offsets:
                columns[b, py, px, tap] *= self.mask[b, py, px, tap]
        flat = columns.reshape(*columns.shape[:3], -1).astype(np.float32)
        out = flat @ self.weight.reshape(-1, self.bias.size).astype(np.float32) + self.bias.astype(np.float32)
        return np.where(out < 0, out * np.float32(self.slope), out).astype(np.float16)


def plan_of(name: str, case: Case) -> launch.Launch:
    """The launch of an instance, whatever instance the shape would be given."""
    precision, tile = name.removeprefix("deform_conv2d_").split("_")
    rows, columns, channels = (int(part) for part in tile.split("x"))
    height, width = case.scalars[:2]
    tiles = -(-height // rows) * -(-width // columns)
    threads = 256 if channels > 128 and precision == "f16" else 128
    return launch.Launch(name, (tiles, -(-case.bias.size // channels), case.batch), threads)


def assert_as_good_as_plain_half(y: np.ndarray, case: Case) -> None:
    reference = case.reference()
    allowed = 2 * np.abs(case.plain_half() - reference).max()
    assert 0 < allowed < 0.1
    assert np.abs(y - reference).max() <= allowed


@pytest.mark.parametrize("name", launch.KERNELS["deform_conv2d"])
def test_half_kernel_is_as_good_as_the_plain_formula_on_ragged_maps(
    run: Kernels, rng: np.random.Generator, name: str
) -> None:
    channels = int(name.split("x")[-1])
    case = Case(rng, (2, 5, 11), (40, channels - 8), slope=0.25)

    y = case.result(run, plan_of(name, case))

    assert_as_good_as_plain_half(y, case)


@pytest.mark.parametrize(("in_channels", "out_channels"), [(8, 8), (16, 64), (72, 136), (32, 256)])
def test_half_kernel_takes_widths_that_are_multiples_of_eight(
    run: Kernels, rng: np.random.Generator, in_channels: int, out_channels: int
) -> None:
    case = Case(rng, (1, 3, 9), (in_channels, out_channels))
    plan = launch.deform_conv2d(1, 3, 9, in_channels, out_channels, precision="f16", multiprocessors=1)

    assert_as_good_as_plain_half(case.result(run, plan), case)


@pytest.mark.parametrize("name", ["deform_conv2d_f16_8x8x64", "deform_conv2d_f16_2x8x64"])
def test_half_kernel_with_mask_and_padded_offsets_matches(run: Kernels, rng: np.random.Generator, name: str) -> None:
    case = Case(rng, (1, 9, 8), (24, 72), offset_stride=24, mask_stride=16)

    assert_as_good_as_plain_half(case.result(run, plan_of(name, case)), case)


def test_half_kernel_gives_the_same_bits_in_any_order_of_threads(run: Kernels, rng: np.random.Generator) -> None:
    case = Case(rng, (1, 9, 9), (40, 64))
    plan = plan_of("deform_conv2d_f16_8x8x64", case)

    forward, backward = (case.result(run, plan, reverse) for reverse in (False, True))

    np.testing.assert_array_equal(forward, backward)


def hostile_offsets(case: Case) -> None:
    """Positions that are not finite, far outside, on the border and a hair from it."""
    hair = np.finfo(np.float16).smallest_subnormal
    bad = [np.nan, np.inf, -np.inf, 6e4, -6e4, -1.0, 1.0, 0.0, -0.0, hair, -0.999, 7.0]
    flat = case.offsets.reshape(-1)
    flat[:] = np.resize(np.array(bad, case.offsets.dtype), flat.size)


@pytest.mark.parametrize("name", ["deform_conv2d_f16_8x8x64", "deform_conv2d_f16_2x8x64", "deform_conv2d_f32_8x8x64"])
def test_offsets_not_finite_or_far_outside_count_as_zero(run: Kernels, rng: np.random.Generator, name: str) -> None:
    dtype = np.float16 if "f16" in name else np.float32
    case = Case(rng, (1, 5, 7), (8, 16), dtype=dtype)
    hostile_offsets(case)

    y = case.result(run, plan_of(name, case))

    np.testing.assert_allclose(y, case.reference(), atol=4e-3 if dtype is np.float16 else 4e-6)


def test_features_not_finite_stay_with_the_pixels_that_sample_them(run: Kernels, rng: np.random.Generator) -> None:
    case = Case(rng, (1, 8, 8), (8, 8), reach=0.0)  # a plain convolution; borders must not multiply infinity by zero
    case.x[0, 0, 0, 0] = np.inf

    y = case.result(run, plan_of("deform_conv2d_f16_8x8x64", case))

    touched = ~np.isfinite(y[0]).all(axis=-1)
    assert touched[:2, :2].all()
    assert touched.sum() == 4


def test_float_kernel_is_accurate_to_float(run: Kernels, rng: np.random.Generator) -> None:
    case = Case(rng, (2, 9, 11), (24, 72), dtype=np.float32, mask_stride=9, offset_stride=20, slope=0.1)
    plan = launch.deform_conv2d(2, 9, 11, 24, 72, precision="f32", multiprocessors=1)

    y = case.result(run, plan)

    # Sums of 216 products of order 1/15 each: at most 217 roundings of 2^-24 of a partial sum, which stays below 8.
    assert np.abs(y - case.reference()).max() <= 217 * 8 * 2.0**-24


def test_twin_without_offsets_is_a_plain_convolution(rng: np.random.Generator) -> None:
    case = Case(rng, (1, 6, 5), (8, 8), dtype=np.float32, reach=0.0)
    padded = np.pad(case.x.astype(np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
    weight = case.weight.astype(np.float64)
    expected = sum(padded[:, t // 3 : t // 3 + 6, t % 3 : t % 3 + 5] @ weight[t] for t in range(9))

    np.testing.assert_allclose(case.reference(), expected + case.bias, rtol=1e-12, atol=1e-12)


def test_twin_matches_onnx_deform_conv(rng: np.random.Generator) -> None:
    onnx = pytest.importorskip("onnx")
    reference = pytest.importorskip("onnx.reference")
    case = Case(rng, (1, 5, 6), (8, 8), dtype=np.float32, mask_stride=9)
    case.offsets[0, 0, 0, :4] = [50.0, 0.0, -1.0, 0.5]
    names = ["x", "w", "offset", "b", "mask"]
    node = onnx.helper.make_node("DeformConv", names, ["y"], pads=[1, 1, 1, 1], kernel_shape=[3, 3])
    graph = onnx.helper.make_graph(
        [node],
        "g",
        [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 19)])
    planar = [a.transpose(0, 3, 1, 2) for a in (case.x, case.offsets, case.mask)]
    kernel = case.weight.reshape(3, 3, 8, 8).transpose(3, 2, 0, 1)
    feeds = dict(zip(names, [planar[0], kernel, planar[1], case.bias, planar[2]], strict=True))

    expected = reference.ReferenceEvaluator(model).run(None, feeds)[0]

    np.testing.assert_allclose(case.reference().transpose(0, 3, 1, 2), expected, rtol=1e-4, atol=1e-5)


def test_launch_small_map_gets_small_tiles_and_large_map_whole_channels() -> None:
    small = launch.deform_conv2d(1, 32, 48, 128, 128, precision="f16", multiprocessors=132)
    large = launch.deform_conv2d(1, 128, 192, 128, 128, precision="f16", multiprocessors=132)

    assert small == launch.Launch("deform_conv2d_f16_2x8x64", (96, 2, 1), 128)
    assert large == launch.Launch("deform_conv2d_f16_8x8x128", (384, 1, 1), 128)


@pytest.mark.parametrize(("in_channels", "out_channels"), [(12, 8), (8, 20), (8, 264), (0, 8)])
def test_launch_unsupported_width_is_refused(in_channels: int, out_channels: int) -> None:
    with pytest.raises(EngineUnavailable, match=rf"{in_channels} input and {out_channels} output"):
        launch.deform_conv2d(1, 8, 8, in_channels, out_channels, precision="f16", multiprocessors=1)


def test_launch_map_too_large_to_count_is_refused() -> None:
    with pytest.raises(LimitExceeded, match="8192 x 8192"):
        launch.deform_conv2d(1, 8192, 8192, 8, 8, precision="f16", multiprocessors=1)
