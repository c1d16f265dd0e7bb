"""Deformable convolution as a TensorRT plugin that is compiled ahead of time: the engine holds the kernel's PTX.

An application that runs the engine needs neither Python nor fastlic. The kernels are those of kernels/cuda, under the
same names and with the same arguments; TensorRT times the two tilings against each other where there are two.
Knows TensorRT's `tensorrt.plugin`; knows nothing of engines, or of where PTX comes from.
Rule: docs of `tensorrt.plugin` (quickly deployable plugins), TensorRT 10.9 and later. Ports: `export/forms/deform.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastlic.kernels.cuda import launch

NAMESPACE, NAME, VERSION = "fastlic", "deform_conv2d", "1"
NODE_PREFIX = "fastlic_deform_conv2d_"
"""Of the names of its nodes; a number follows."""
INPUTS = ("x", "offset", "mask", "weight", "bias")
WHOLE, SMALL = 1, 2
"""Tactics: tiles of 8x8 pixels with all channels, or of 2x8 pixels with slices of 64 channels, for small maps."""

_MANY = 1 << 30  # multiprocessors: so many that `launch` chooses the small tiles
_VECTOR = 8  # channels that HWC8 pads to


def register(trt: Any, trtp: Any, ptx: Callable[[str], bytes]) -> None:
    """Make the plugin known to TensorRT's parser and builder, once per process.

    Args:
        trt: the module `tensorrt`.
        trtp: the module `tensorrt.plugin`.
        ptx: gives the PTX of one kernel by name, for the GPU that engines are built for.

    Raises:
        ValueError: it is registered already.
    """

    def describe(x: Any, offset: Any, mask: Any, weight: Any, bias: Any, masked: int, slope: int) -> Any:
        out = x.like()
        out.shape_expr[1] = weight.shape_expr[2]
        return out

    def combinations(x: Any, offset: Any, mask: Any, weight: Any, bias: Any, outputs: Any) -> Any:
        return [
            trtp.AutoTuneCombination(", ".join(["FP16"] * 6), "HWC8, HWC8, HWC8, LINEAR, LINEAR, HWC8", [WHOLE, SMALL]),
            trtp.AutoTuneCombination(", ".join(["FP32"] * 6), "HWC, HWC, HWC, LINEAR, LINEAR, HWC", [WHOLE]),
        ]

    def implement(
        x: Any, offset: Any, mask: Any, weight: Any, bias: Any, masked: int, slope: int, outputs: Any, tactic: int
    ) -> Any:
        half = x.dtype == trt.float16
        channels, features = int(weight.shape[1]), int(weight.shape[2])
        plan = launch.deform_conv2d(
            *(1, 1, 1, channels, features),
            precision="f16" if half else "f32",
            multiprocessors=_MANY if tactic == SMALL else 1,
        )
        rows, columns, slice_ = launch.deform_tile(plan.kernel)
        batch, _, height, width = x.shape_expr
        geometry = trtp.KernelLaunchParams()
        geometry.grid_x = trtp.cdiv(height, rows) * trtp.cdiv(width, columns)
        geometry.grid_y = -(-features // slice_)
        geometry.grid_z = batch
        geometry.block_x = plan.threads
        strides = _stride(int(offset.shape[1]), half), _stride(int(mask.shape[1]), half) if masked else 0
        scalars = (height, width, channels, features, *strides, slope)
        arguments = trtp.SymIntExprs.from_tuple([trtp.SymInt32(number) for number in scalars])
        return plan.kernel, ptx(plan.kernel), geometry, arguments

    tensors = dict.fromkeys(INPUTS, trtp.TensorDesc)
    attributes = {"masked": int, "slope": int}
    outputs = {"outputs": tuple[trtp.TensorDesc]}
    made = tuple[str, bytes, trtp.KernelLaunchParams, trtp.SymIntExprs]
    # TensorRT reads annotations as objects; in this file they are strings.
    describe.__annotations__ = {**tensors, **attributes, "return": trtp.TensorDesc}
    combinations.__annotations__ = {**tensors, **outputs, "return": list[trtp.AutoTuneCombination]}
    implement.__annotations__ = {**tensors, **attributes, **outputs, "tactic": int, "return": made}
    name = f"{NAMESPACE}::{NAME}"
    trtp.register(name)(describe)
    trtp.autotune(name)(combinations)
    trtp.aot_impl(name)(implement)


def slope_bits(slope: float) -> int:
    """A LeakyReLU's slope as the plugin takes it: the bits of a float32."""
    return int(np.float32(slope).view(np.int32))


def _stride(channels: int, half: bool) -> int:
    """Numbers per pixel of a tensor whose channels come last, as TensorRT's HWC8 (half) or HWC (float) has it."""
    return -(-channels // _VECTOR) * _VECTOR if half else channels
