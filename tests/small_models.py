"""Small ONNX models, ONNX Runtime to run them, and an evaluator that knows our plugin by the kernel's twin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from fastlic.kernels.cuda import twins
from fastlic.kernels.tensorrt import plugin

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests" / "conformance" / "golden"
Ports = Mapping[str, tuple[Any, Sequence[int | str]]]


def deformable_student() -> tuple[Path, Path]:
    """A student whose synthesis has deformable convolutions, and a file of its own, of a square picture."""
    name = "fu2023-n64-m128-l0075-2"
    return ROOT / "zoo" / f"{name}.licb", ROOT / "tests" / "data" / f"{name}-square.lic"


def model_of(nodes: Sequence[Any], inputs: Ports, outputs: Ports, **weights: np.ndarray) -> bytes:
    """A model of `nodes`; ports are name -> (numpy type, shape)."""

    def ports(of: Ports) -> list[Any]:
        kind = helper.np_dtype_to_tensor_dtype
        return [helper.make_tensor_value_info(name, kind(np.dtype(t)), shape) for name, (t, shape) in of.items()]

    stored = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(list(nodes), "g", ports(inputs), ports(outputs), stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def run(model: bytes, **feeds: np.ndarray) -> list[np.ndarray]:
    """Evaluate with ONNX Runtime, as the graph stands."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"]).run(None, feeds)


class PluginNode(OpRun):
    """Our plugin's node, computed by `twins.deform_conv2d`."""

    op_domain = plugin.NAMESPACE

    def _run(
        self,
        x: np.ndarray,
        offset: np.ndarray,
        mask: np.ndarray,
        weight: np.ndarray,
        bias: np.ndarray,
        aot: int | None = None,
        masked: int = 0,
        plugin_namespace: str = "",
        plugin_version: str = "",
        slope: int = 0,
    ) -> tuple[np.ndarray]:
        assert (plugin_namespace, plugin_version) == ("fastlic", "1")
        last = [np.ascontiguousarray(array.transpose(0, 2, 3, 1)) for array in (x, offset, mask)]
        batch, height, width, channels = last[0].shape
        y = np.empty((batch, height, width, weight.shape[2]), x.dtype)
        sizes = (height, width, channels, weight.shape[2], last[1].shape[3], last[2].shape[3] if masked else 0)
        twins.deform_conv2d(*last, weight, bias, *sizes, slope, y)
        return (y.transpose(0, 3, 1, 2),)


PluginNode.__name__ = plugin.NAME


def evaluate(model: bytes, **feeds: np.ndarray) -> list[np.ndarray]:
    """Evaluate with ONNX's reference, each operator in its own type; it knows our plugin."""
    return ReferenceEvaluator(onnx.load_from_string(model), new_ops=[PluginNode]).run(None, feeds)


def pairs(array: np.ndarray) -> np.ndarray:
    """int16 (...) -> the same bytes as uint8 (..., 2); other types as they are."""
    return array.view(np.uint8).reshape(*array.shape, 2) if array.dtype == np.int16 else array


def unpaired(array: np.ndarray, like: np.ndarray) -> np.ndarray:
    """The inverse of `pairs`, for an array that shall have the type and shape of another."""
    return np.ascontiguousarray(array).reshape(-1).view(like.dtype).reshape(like.shape)
