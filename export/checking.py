"""An engine whose graphs check each of their own evaluations against what they were made from.

Knows what equality means for each kind of graph; knows nothing of schedules: an encoder and a decoder that are given
this engine check a whole student while they work. Exact graphs must equal the integer oracle bit for bit, others must
be the rounding of something near their module in float64.
Rule: docs/exactness.md.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from fastlic.export.recipe import ExactGraph, FloatGraph, Tensors, Transform, picture_in
from fastlic.export.verify import Report, require_equal, require_near
from fastlic.runtime.engines import Engine, EngineInfo, Graph

Check = Callable[[Sequence[np.ndarray], Sequence[np.ndarray]], None]
"""Raises `VerificationFailed` unless these inputs give these outputs."""


class CheckingEngine:
    """An engine, each evaluation of whose graphs is checked; graphs without a check are only evaluated.

    Args:
        inner: evaluates.
        checks: graph name -> check.
    """

    def __init__(self, inner: Engine, checks: Mapping[str, Check]) -> None:
        self.name = inner.name
        self._inner, self._checks = inner, checks

    def load(self, model: bytes, name: str, exact: bool) -> Graph:
        """Prepare one graph; see `Engine.load`."""
        graph, check = self._inner.load(model, name, exact), self._checks.get(name)
        if check is None:
            return graph

        def evaluate(inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
            outputs = graph(inputs)
            check(inputs, outputs)
            return outputs

        return evaluate

    def info(self) -> EngineInfo:
        """What the inner engine is."""
        return self._inner.info()

    def close(self) -> None:
        """Close the inner engine."""
        self._inner.close()


def exact_check(name: str, graph: ExactGraph, label: str) -> Check:
    """Equality with the integer oracle; `label` names the engine in messages."""

    def check(inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray]) -> None:
        for port, found, wanted in zip(graph.outputs, outputs, graph.reference(inputs), strict=True):
            require_equal(f"{name}, {port.name}, {label}, {found.shape}", found, wanted)

    return check


def float_check(name: str, graph: FloatGraph, report: Report) -> Check:
    """Nearness to the module in float64, with the error of its float32 evaluation as the measure."""
    double = copy.deepcopy(graph.module).double()
    own: dict[str, float] = {}  # of a small picture PyTorch's error may be small by luck

    @torch.no_grad()
    def check(inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray]) -> None:
        single = _evaluated(graph.module, inputs, torch.float32)
        exact = _evaluated(double, inputs, torch.float64)
        for port, found, near, true in zip(graph.outputs, outputs, single, exact, strict=True):
            shown, near, true = _comparable(port, torch.from_numpy(found), near, true)
            label = name if len(graph.outputs) == 1 else f"{name}.{port.name}"
            least = own.get(label, 0.0)
            own[label] = require_near(label, shown, near, true, report, rounded=port.kind != "float", least=least)

    return check


def _evaluated(module: Transform, inputs: Sequence[np.ndarray], dtype: torch.dtype) -> tuple[Tensor, ...]:
    return module.values(*(_given(array, dtype) for array in inputs))


def _given(array: np.ndarray, dtype: torch.dtype) -> Tensor:
    """An input in the precision of the module; the picture as `Transform.values` takes it, symbols as they are."""
    tensor = torch.from_numpy(array)
    if array.dtype == np.uint8:
        return picture_in(tensor).to(dtype) if dtype == torch.float32 else tensor.to(dtype).permute(2, 0, 1) / 255
    return tensor.to(dtype) if array.dtype == np.float32 else tensor


def _comparable(port: Tensors, found: Tensor, single: Tensor, exact: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    if port.kind == "picture":
        return found.permute(2, 0, 1), single.clamp(0, 255), exact.clamp(0, 255)
    return found, single, exact
