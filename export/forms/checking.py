"""Compare a form with the graph that it was made of, on what a decode of the bundle's own vectors gives the graph.

Knows ONNX Runtime on the CPU; knows nothing of how forms are made. Nothing that differs is kept.
Rule: an exact graph gives equal bits; pixels may differ by one level (docs/exactness.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastlic.errors import VerificationFailed
from fastlic.runtime.bundle import Bundle
from fastlic.runtime.codec import Decoder
from fastlic.runtime.engines import Graph
from fastlic.runtime.engines.ort import OrtCpuEngine
from fastlic.runtime.engines.ort_sessions import import_onnxruntime
from fastlic.runtime.forms import Form
from fastlic.runtime.shapes import inputs_of_a_decode
from fastlic.runtime.student import Student


@dataclass(frozen=True)
class Sample:
    """What a graph was given and gave."""

    inputs: list[np.ndarray]
    outputs: list[np.ndarray]


class _Sampling(OrtCpuEngine):
    """Keeps what each graph is given and gives, once per kind of inputs."""

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        self.samples: dict[str, dict[tuple[Any, ...], Sample]] = {}

    def load(self, model: bytes, name: str, exact: bool) -> Graph:
        """As the engine's own, with a copy of everything."""
        graph = super().load(model, name, exact)

        def call(inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
            outputs = graph(inputs)
            kept = Sample([array.copy() for array in inputs], [array.copy() for array in outputs])
            self.samples.setdefault(name, {})[tuple(array.shape for array in inputs)] = kept
            return outputs

        return call


def samples(bundle: Bundle, threads: int) -> Mapping[str, list[Sample]]:
    """Of each graph of a decode: what the conformance vectors of a bundle lead to, or symbols that are all zero."""
    engine = _Sampling(threads)
    vectors = [bundle.member(vector.lic) for vector in bundle.manifest.conformance]
    if not vectors:
        multiple = bundle.manifest.multiple
        inputs_of_a_decode(Student(bundle, engine), 3 * multiple, 2 * multiple)
    with Decoder(Bundle(bundle.origin), engine=engine, threads=threads) as decoder:
        for data in vectors:
            decoder.decode(data)
    return {name: list(kept.values()) for name, kept in engine.samples.items()}


def check(name: str, made: bytes, form: Form, exact: bool, given: Sequence[Sample]) -> None:
    """Evaluate a form on samples of its graph.

    Args:
        name: of the graph, for messages.
        made: the form, without operators of TensorRT's.
        form: which.
        exact: whether bits must be equal.
        given: samples of the graph in the bundle.

    Raises:
        VerificationFailed: the form computes something else.
    """
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(made, options, providers=["CPUExecutionProvider"])
    names = [port.name for port in session.get_inputs()]
    for sample in given:
        feeds = {port: _as_port(array, form) for port, array in zip(names, sample.inputs, strict=True)}
        for problem in _problems(session.run(None, feeds), sample.outputs, exact):
            raise VerificationFailed(
                f"graph {name}: its form {form.name} {problem}. It was not kept; use another form or precision, and "
                "report this."
            )


def _problems(got: Sequence[np.ndarray], expected: Sequence[np.ndarray], exact: bool) -> Iterator[str]:
    for have, want in zip(got, expected, strict=True):
        array = np.ascontiguousarray(have).reshape(-1).view(want.dtype).reshape(want.shape)
        if exact and not np.array_equal(array, want):
            yield "does not give the same integers"
        elif not exact:
            difference = np.abs(array.astype(np.float64) - want.astype(np.float64)).max()
            if want.dtype.kind in "iu" and not difference <= 1:
                yield f"differs by {difference:g}, more than one level"


def _as_port(array: np.ndarray, form: Form) -> np.ndarray:
    if form.types == "tensorrt" and array.dtype == np.int16:
        return np.ascontiguousarray(array).view(np.uint8).reshape(*array.shape, 2)
    return array
