"""Single kernels beside the machine's limits: the processor's here, a GPU's in `gpu_kernels`.

Knows the shapes that matter (the shipped student's last layers at 768x512) and what they must compute and move; knows
nothing of how. The limits are measured first: copying memory and multiplying matrices, on one thread as the kernels
are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

import fastlic
from fastlic.benchmarks.measure import Summary
from fastlic.benchmarks.peers.environment import PeerUnavailable
from fastlic.benchmarks.report import KernelRow, NotRun, Report
from fastlic.benchmarks.sampling import Effort, collect
from fastlic.benchmarks.stages import ENTROPY, timed
from fastlic.benchmarks.subjects import made_up
from fastlic.errors import FastlicError
from fastlic.kernels import native
from fastlic.runtime import engines
from fastlic.runtime.engines import Graph

COPY_GBPS, MATRIX_GFLOPS = "copy GB/s", "matrix product GFLOP/s"
_COPIED = 1 << 28  # bytes, far beyond any cache
_MATRIX = 1024
_FLOAT = 4  # bytes


@dataclass(frozen=True)
class Operator:
    """One operator on one shape: maps of `channels` x `height` x `width` to `outputs` channels."""

    name: str
    channels: int
    outputs: int
    height: int
    width: int
    size: int = 1

    @property
    def shape(self) -> str:
        """For tables."""
        filters = f" {self.size}x{self.size}" if self.size > 1 else ""
        return f"{self.channels} to {self.outputs}{filters}, {self.width}x{self.height}"

    @property
    def flops(self) -> float:
        """Operations by the definition of a convolution; a pixel shuffle has none."""
        if self.name == "DepthToSpace":
            return 0.0
        return 2.0 * self.channels * self.outputs * self.size**2 * self.height * self.width

    @property
    def moved(self) -> float:
        """Bytes of everything read or written once."""
        pixels = self.height * self.width
        weights = 0 if self.name == "DepthToSpace" else self.channels * self.outputs * self.size**2
        offsets = 2 * self.size**2 * pixels if self.name == "DeformConv" else 0
        written = self.channels if self.name == "DepthToSpace" else self.outputs
        return _FLOAT * ((self.channels + written) * pixels + weights + offsets)


OPERATORS = (
    Operator("Conv", 64, 256, 128, 192, 3),
    Operator("Conv", 64, 18, 256, 384, 3),
    Operator("Conv", 64, 64, 256, 384),
    Operator("DeformConv", 64, 64, 256, 384, 3),
    Operator("DepthToSpace", 256, 64, 128, 192),
)


def measure_kernels(
    report: Report, effort: Effort, say: Callable[[str], None], operators: Sequence[Operator] = OPERATORS
) -> None:
    """Add the limits and a row for each operator by each implementation, then the GPU's kernels or why not."""
    from fastlic.benchmarks.gpu_kernels import add_gpu_peers, measure_gpu_kernels

    say("the processor's limits")
    report.roofline.update(processor_limits(effort))
    implementations = ["onnxruntime", *(["fastlic"] if native.available() else [])]
    for operator in operators:
        for implementation in implementations:
            say(f"{operator.name} {operator.shape}, {implementation}")
            engine = engines.create("ort-cpu", threads=1, operators=implementation)
            try:
                report.kernels.append(_operator_row(operator, implementation, engine, effort, report.roofline))
            except ModuleNotFoundError as missing:
                why = f"{missing.name} is not installed: pip install 'fastlic[export]'"
                report.not_run.append(NotRun("kernels", why))
                return
            finally:
                engine.close()
    say("entropy decoding")
    report.kernels += _reader_rows(effort)
    try:
        measure_gpu_kernels(report, effort, say)
        add_gpu_peers(report, effort)
    except (FastlicError, PeerUnavailable) as reason:
        report.absent.append(NotRun("kernels on a GPU", str(reason)))


def processor_limits(effort: Effort) -> dict[str, float]:
    """Copy bandwidth and rate of float32 matrix products, each on one thread."""
    source = np.ones(_COPIED // _FLOAT, np.float32)
    target = np.zeros_like(source)
    copy = Summary.of(_timed(lambda: np.copyto(target, source), effort))
    return {
        COPY_GBPS: 2 * _COPIED / copy.median / 1e9,
        MATRIX_GFLOPS: 2 * _MATRIX**3 / _matrix_product(effort).median / 1e9,
    }


def limit_of(flops: float, moved: float, copy_gbps: float, matrix_gflops: float | None) -> tuple[float, str]:
    """Seconds at best, and what bounds them: "memory" or "arithmetic"."""
    memory = moved / (copy_gbps * 1e9)
    arithmetic = flops / (matrix_gflops * 1e9) if matrix_gflops else 0.0
    return (memory, "memory") if memory >= arithmetic else (arithmetic, "arithmetic")


def _timed(action: Callable[[], object], effort: Effort) -> list[float]:
    def once() -> float:
        start = time.perf_counter()
        action()
        return time.perf_counter() - start

    return collect(once, effort)


def _matrix_product(effort: Effort) -> Summary:
    """By ONNX Runtime, on as many threads as asked for, which NumPy's product does not promise."""
    engine = engines.create("ort-cpu", threads=1)
    square = np.ones((_MATRIX, _MATRIX), np.float32)
    graph = engine.load(_single("MatMul", [square], [square], {}), "product", exact=False)
    found = Summary.of(_timed(lambda: graph([square]), effort))
    engine.close()
    return found


def _operator_row(
    operator: Operator, implementation: str, engine: engines.Engine, effort: Effort, limits: Mapping[str, float]
) -> KernelRow:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, operator.channels, operator.height, operator.width)).astype(np.float32)
    weight = rng.normal(size=(operator.outputs, operator.channels, operator.size, operator.size)).astype(np.float32)
    inputs, weights, attributes = [x], [weight], _attributes(operator)
    if operator.name == "DepthToSpace":
        weights = []
    if operator.name == "DeformConv":
        offset = rng.normal(size=(1, 2 * operator.size**2, operator.height, operator.width)).astype(np.float32)
        inputs, weights = [x, offset], [weight]
    graph: Graph = engine.load(_single(operator.name, inputs, weights, attributes), operator.name, exact=False)
    seconds = Summary.of(_timed(lambda: graph(inputs), effort))
    limit, bound = limit_of(operator.flops, operator.moved, limits[COPY_GBPS], limits[MATRIX_GFLOPS])
    return KernelRow(
        operator.name, operator.shape, implementation, seconds, operator.flops, operator.moved, limit, bound
    )


def _attributes(operator: Operator) -> dict[str, Any]:
    if operator.name == "DepthToSpace":
        return {"blocksize": 2, "mode": "CRD"}
    return {"kernel_shape": [operator.size] * 2, "pads": [operator.size // 2] * 4}


def _single(
    name: str, inputs: Sequence[np.ndarray], weights: Sequence[np.ndarray], attributes: dict[str, Any]
) -> bytes:
    """An ONNX model of one node; of two inputs, the weight comes between, as DeformConv has it."""
    from onnx import helper, numpy_helper

    ports = [f"i{number}" for number in range(len(inputs))]
    constants = [f"w{number}" for number in range(len(weights))]
    node = helper.make_node(name, [ports[0], *constants, *ports[1:]], ["o"], **attributes)
    graph = helper.make_graph(
        [node],
        name,
        [helper.make_tensor_value_info(port, 1, array.shape) for port, array in zip(ports, inputs, strict=True)],
        [helper.make_tensor_value_info("o", 1, None)],
        [numpy_helper.from_array(array, constant) for constant, array in zip(constants, weights, strict=True)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
    return model.SerializeToString()


def _reader_rows(effort: Effort) -> list[KernelRow]:
    """All passes of one picture, by our reader and by constriction's; no limit of the machine's stands beside them."""
    with fastlic.Encoder(threads=1) as encoder:
        data = encoder.encode(made_up(768, 512))
    rows = []
    for reader in ["constriction", *(["native"] if native.available() else [])]:
        with fastlic.Decoder(threads=1, entropy=reader) as decoder:
            found = collect(partial(_entropy_seconds, decoder, data), effort)
        by = "fastlic" if reader == "native" else reader
        rows.append(KernelRow("entropy decoding", f"768x512, {len(data)} bytes", by, Summary.of(found), 0, 0, 0, ""))
    return rows


def _entropy_seconds(decoder: fastlic.Decoder, data: bytes) -> float:
    return timed(decoder, data)[ENTROPY]
