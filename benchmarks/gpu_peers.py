"""Other deformable convolutions on the same GPU and maps: torchvision's and ONNX Runtime's.

Knows how each is called on data that is on the device already, and timed by events on the stream it runs on; knows
nothing of ours. Neither is a dependency: what is not installed is named, with the reason.
Several calls lie between two events, and the device is kept busy before the first one until the host has enqueued them:
otherwise what is timed on small maps is the host. They are not captured, as not everything in them can be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np

from fastlic.benchmarks.measure import Summary
from fastlic.benchmarks.sampling import Effort, collect
from fastlic.errors import EngineUnavailable

_CYCLES = 400_000
"""Of a device's clock per call: a fifth of a millisecond or so."""

Shape = tuple[int, int, int]
"""Height, width and channels."""
Peer = Callable[[Shape, Effort, int], list[float]]
"""Seconds of one call, each the mean of so many.

Raises `ModuleNotFoundError` or `EngineUnavailable` where it cannot run.
"""


def measure_peers(
    shapes: Sequence[Shape], effort: Effort, calls: int = 1
) -> tuple[dict[tuple[str, Shape], Summary], dict[str, str]]:
    """Time every peer on every map.

    Args:
        shapes: of the maps.
        effort: how long to measure each.
        calls: between two events.

    Returns:
        (peer, shape) -> seconds of one call; and peer -> why it did not run.
    """
    found, absent = {}, {}
    for name, peer in _peers():
        try:
            for shape in shapes:
                found[name, shape] = Summary.of(peer(shape, effort, calls))
        except (ModuleNotFoundError, EngineUnavailable, RuntimeError) as reason:
            absent[name] = str(reason)
    return found, absent


def _peers() -> Iterator[tuple[str, Peer]]:
    yield "torchvision float16", partial(_torchvision, "float16")
    yield "torchvision float32", partial(_torchvision, "float32")
    yield "onnxruntime float16", partial(_onnxruntime, np.float16)
    yield "onnxruntime float32", partial(_onnxruntime, np.float32)


def _torchvision(precision: str, shape: Shape, effort: Effort, calls: int) -> list[float]:
    import torch
    from torchvision.ops import deform_conv2d

    if not torch.cuda.is_available():
        raise EngineUnavailable(f"torch {torch.__version__} has no CUDA")
    dtype = getattr(torch, precision)
    x, offset, weight, bias = (torch.from_numpy(array).to("cuda", dtype) for array in _inputs(shape))
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))

    def once() -> float:
        occupy(calls)
        begin.record()
        for _ in range(calls):
            deform_conv2d(x, offset, weight, bias, padding=1)
        end.record()
        end.synchronize()
        return float(begin.elapsed_time(end)) / 1000 / calls

    return collect(once, effort)


def _onnxruntime(dtype: type[np.floating], shape: Shape, effort: Effort, calls: int) -> list[float]:
    from fastlic.kernels.cuda.arrays import ArraySpec, DeviceArray
    from fastlic.runtime.engines.ort_cuda import OrtCudaEngine

    x, offset, weight, bias = (array.astype(dtype) for array in _inputs(shape))
    engine = OrtCudaEngine(1)
    stream, device = engine.open_stream(), engine.device
    graph = engine.load_on_device(_model(x, offset, weight, bias), "DeformConv", exact=False)
    inputs = [DeviceArray.empty(device, ArraySpec(array.dtype, array.shape)) for array in (x, offset)]
    for array, values in zip(inputs, (x, offset), strict=True):
        array.upload(values, stream)
    outputs = [DeviceArray.empty(device, spec) for spec in graph.outputs([array.spec for array in inputs])]
    bound = graph.bind(inputs, outputs, stream)
    begin, end = device.event(timing=True), device.event(timing=True)

    def once() -> float:
        occupy(calls, stream.handle)
        begin.record(stream)
        for _ in range(calls):
            bound.enqueue()
        end.record(stream)
        end.synchronize()
        return end.seconds_since(begin) / calls

    seconds = collect(once, effort)
    bound.close()
    for array in (*inputs, *outputs):
        array.close()
    engine.close()
    return seconds


def occupy(calls: int, stream: int | None = None) -> None:
    """Keep the device busy for about as long as the host takes to enqueue so many calls, where torch has CUDA.

    Args:
        calls: that follow.
        stream: a `CUstream`; None: the default one.
    """
    try:
        import torch
    except ModuleNotFoundError:
        return
    if torch.cuda.is_available():
        cycles = _CYCLES * calls
        if stream is None:
            torch.cuda._sleep(cycles)
        else:
            with torch.cuda.stream(torch.cuda.ExternalStream(stream)):
                torch.cuda._sleep(cycles)


def _inputs(shape: Shape) -> list[np.ndarray]:
    """X (1, C, h, w), offset (1, 18, h, w), weight (C, C, 3, 3) and bias (C,), float32."""
    height, width, channels = shape
    rng = np.random.default_rng(0)
    sizes = [(1, channels, height, width), (1, 18, height, width), (channels, channels, 3, 3), (channels,)]
    return [rng.normal(size=size).astype(np.float32) for size in sizes]


def _model(x: np.ndarray, offset: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> bytes:
    """ONNX's DeformConv with its weights inside."""
    from onnx import helper, numpy_helper

    kind = helper.np_dtype_to_tensor_dtype(x.dtype)
    node = helper.make_node("DeformConv", ["x", "w", "offset", "b"], ["y"], kernel_shape=[3, 3], pads=[1] * 4)
    graph = helper.make_graph(
        [node],
        "DeformConv",
        [helper.make_tensor_value_info(name, kind, array.shape) for name, array in (("x", x), ("offset", offset))],
        [helper.make_tensor_value_info("y", kind, x.shape)],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(bias, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
    return bytes(model.SerializeToString())
