"""`torch`: an oracle for development that interprets the bundle's own ONNX graphs with PyTorch.

Knows how to read a graph, in which order to evaluate it and when to free a tensor, and which of PyTorch's global
settings trade precision for speed; what an operator does stands in `torch_operators`.
torch and onnx are imported when the engine is made, never with this module.
"""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastlic.errors import BundleError, EngineUnavailable
from fastlic.runtime.engines import EngineInfo, Graph
from fastlic.runtime.engines.torch_operators import OPERATORS, Attributes, Operator

if TYPE_CHECKING:
    from torch import Tensor


def create(threads: int, device: int | None = None, **options: Any) -> TorchEngine:
    """The engine on the CPU, or on a GPU where a device is named; options are those of the class.

    Raises:
        EngineUnavailable: it cannot run here.
    """
    if device is None:
        return TorchEngine(threads, **options)
    from fastlic.runtime.engines.torch_cuda import TorchCudaEngine

    return TorchCudaEngine(threads, device=device, **options)


# PyTorch's precision settings belong to the process, so one graph at a time may hold them.
_settings = threading.Lock()


class TorchEngine:
    """PyTorch on the CPU, float32, one operator after the other.

    Whatever the application set globally (autocast, float32 precision of products and convolutions), graphs run in full
    float32, and the settings are as before when a graph returns.

    Args:
        threads: of one graph, at least 1.
        onednn: whether PyTorch may use oneDNN's kernels.

    Raises:
        EngineUnavailable: torch or onnx is not installed, or torch is too old.
    """

    name = "torch"

    def __init__(self, threads: int, onednn: bool = True) -> None:
        self._torch = _import("torch")
        self._onnx = _import("onnx")
        if not hasattr(self._torch.backends.mkldnn, "matmul"):
            raise EngineUnavailable(
                f"torch {self._torch.__version__} cannot be kept at full precision: it lacks "
                "torch.backends.mkldnn.matmul.fp32_precision. Update it: pip install 'torch>=2.9'."
            )
        self._threads = threads
        self._onednn = onednn
        self._graphs: list[TorchGraph] = []

    def load(self, model: bytes, name: str, exact: bool) -> Graph:
        """Prepare one graph; see `Engine.load`. Every graph here runs as an exact one must."""
        graph = TorchGraph(self, name, self._proto(model, name))
        self._graphs.append(graph)
        return graph

    def _proto(self, model: bytes, name: str) -> Any:
        try:
            return self._onnx.load_model_from_string(model)
        except Exception as error:  # protobuf's DecodeError, which onnx does not name
            raise BundleError(f"graph {name}: no ONNX model ({error}). The bundle is damaged.") from error

    def info(self) -> EngineInfo:
        """Name, PyTorch's version, threads and whether oneDNN is used."""
        return EngineInfo(
            name=self.name,
            version=self._torch.__version__,
            device="cpu",
            threads=self._threads,
            detail={"onednn": "on" if self._onednn else "off"},
        )

    def close(self) -> None:
        """Drop every graph's weights."""
        for graph in self._graphs:
            graph.close()
        self._graphs.clear()

    @contextmanager
    def full_precision(self) -> Iterator[None]:
        """Set this engine's threads, and force full float32; the application's own settings come back afterwards."""
        torch, onednn = self._torch, self._torch.backends.mkldnn
        with _settings:
            threads, enabled = torch.get_num_threads(), onednn.enabled
            products, convolutions = onednn.matmul.fp32_precision, onednn.conv.fp32_precision
            try:
                torch.set_num_threads(self._threads)
                onednn.enabled = self._onednn
                onednn.matmul.fp32_precision = onednn.conv.fp32_precision = "ieee"
                with torch.inference_mode(), torch.autocast("cpu", enabled=False), torch.device("cpu"):
                    yield
            finally:
                onednn.matmul.fp32_precision, onednn.conv.fp32_precision = products, convolutions
                onednn.enabled = enabled
                torch.set_num_threads(threads)


@dataclass(frozen=True)
class _Node:
    operator: Operator
    attributes: Attributes
    inputs: tuple[str, ...]  # "" where an optional input is absent
    outputs: tuple[str, ...]
    dead: tuple[str, ...]  # tensors that nothing after this node reads
    label: str


class TorchGraph:
    """One ONNX graph as a list of nodes in its own (topological) order.

    Args:
        engine: whose precision and threads it runs with.
        name: of the graph, for messages.
        proto: the ONNX model.
        device: of torch, for tensors; those of int64 are shapes and stay on the CPU.
        operators: to run nodes with.

    Raises:
        BundleError: there is no such operator, or a weight cannot be read.
    """

    def __init__(
        self,
        engine: TorchEngine,
        name: str,
        proto: Any,
        device: str = "cpu",
        operators: Mapping[str, Operator] = OPERATORS,
    ) -> None:
        onnx, torch = importlib.import_module("onnx"), importlib.import_module("torch")
        self._engine, self._name, self._operators = engine, name, operators
        graph = proto.graph
        try:
            self._weights: dict[str, Tensor] = {
                # Weights lie in the bundle: a tensor that names a file finds none in os.devnull, which is no folder.
                tensor.name: torch.from_numpy(np.array(onnx.numpy_helper.to_array(tensor, os.devnull))).to(
                    "cpu" if tensor.data_type == onnx.TensorProto.INT64 else device
                )
                for tensor in graph.initializer
            }
        except Exception as error:
            raise BundleError(f"graph {name}: a weight cannot be read: {error}. The bundle is damaged.") from error
        self._inputs = [port.name for port in graph.input if port.name not in self._weights]
        self._outputs = [port.name for port in graph.output]
        self._nodes = self._read_nodes(graph, onnx)

    def __call__(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """See `Graph`."""
        from torch import from_numpy

        with self._engine.full_precision():
            # Copied: the caller's array may be read-only, which torch cannot say, and operators may return views of it.
            outputs = self.run([from_numpy(array.copy()) for array in inputs])
            return [np.array(output.contiguous().numpy()) for output in outputs]

    def close(self) -> None:
        """Drop weights and nodes."""
        self._weights = {}
        self._nodes = None

    def run(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Evaluate on tensors, inside the engine's `full_precision`; outputs may be views of inputs.

        Raises:
            BundleError: the graph does not accept these inputs, or fails on them.
        """
        from torch import AcceleratorError, OutOfMemoryError, Tensor

        if self._nodes is None:
            raise ValueError(f"graph {self._name}: its engine was closed")
        if len(inputs) != len(self._inputs):
            raise BundleError(
                f"graph {self._name}: has {len(self._inputs)} inputs, the manifest gives {len(inputs)}. "
                "Export the bundle again."
            )
        tensors: dict[str, Tensor] = dict(self._weights)
        tensors.update(zip(self._inputs, inputs, strict=True))
        for node in self._nodes:
            given = [tensors[name] if name else None for name in node.inputs]
            try:
                made = node.operator(node.attributes, *given)
            except (OutOfMemoryError, AcceleratorError):  # not the graph's fault; both are RuntimeErrors
                raise
            except (RuntimeError, ValueError, TypeError, IndexError) as error:
                raise BundleError(
                    f"graph {self._name}: {node.label} fails: {error}. Export the bundle again."
                ) from error
            results = (made,) if isinstance(made, Tensor) else made
            tensors.update((name, result) for name, result in zip(node.outputs, results, strict=False) if name)
            for name in node.dead:
                tensors.pop(name, None)
        return [tensors[name] for name in self._outputs]

    def _read_nodes(self, graph: Any, onnx: Any) -> list[_Node] | None:
        last_use = {name: number for number, node in enumerate(graph.node) for name in node.input}
        kept = {*self._weights, *self._outputs, ""}
        nodes = []
        for number, node in enumerate(graph.node):
            label = f"{node.op_type} {node.name!r}" if node.name else f"{node.op_type} {node.output[0]!r}"
            operator = self._operators.get(node.op_type) if node.domain in ("", "ai.onnx") else None
            if operator is None:
                kind = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
                raise BundleError(
                    f"graph {self._name}: the torch engine has no operator {kind}. Run this bundle with ort-cpu, "
                    "or add the operator to runtime/engines/torch_operators.py."
                )
            attributes = {item.name: _value(onnx, item) for item in node.attribute}
            unread = [name for name in node.output if name not in last_use]
            dead = {name for name in node.input if last_use[name] == number}.union(unread) - kept
            nodes.append(_Node(operator, attributes, tuple(node.input), tuple(node.output), tuple(dead), label))
        return nodes


def _value(onnx: Any, attribute: Any) -> Any:
    """An attribute as a Python value: text for bytes, an array for a tensor."""
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode()
    return onnx.numpy_helper.to_array(value, os.devnull) if isinstance(value, onnx.TensorProto) else value


def _import(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise EngineUnavailable(
            f"{module} cannot be imported: {error}. The torch engine is for development: pip install 'fastlic[export]'."
        ) from error
