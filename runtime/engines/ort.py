"""`ort-cpu`: ONNX Runtime on the CPU, the default engine.

Knows which operators are ours and how graphs are run; knows nothing of what they compute.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastlic.errors import BundleError
from fastlic.kernels import native
from fastlic.runtime.engines import EngineInfo, Graph
from fastlic.runtime.engines.forks import kept_in_children
from fastlic.runtime.engines.ort_sessions import (
    LEVELS,
    import_onnxruntime,
    is_out_of_memory,
    message_of,
    session_options,
)

_BEYOND_BASIC = ("extended", "all")


class OrtCpuEngine:
    """ONNX Runtime's CPU provider.

    Memory: until `close` each graph keeps buffers for the largest shape it has met, up to 1.7 times what that shape
    alone needs where shapes vary (the arena fragments), and does not grow beyond.

    Args:
        threads: of one graph, at least 1.
        optimisation: of graphs at load: "none", "basic", "extended" or "all". Exact graphs give the same bits at each.
        operators: "fastlic" replaces ONNX Runtime's Conv, DeformConv and DepthToSpace by the native module's, faster
            and without a buffer of nine maps; "onnxruntime" keeps its own; None: "fastlic" where the module was built.
            Graphs that run with ours are optimised to "basic" at most: beyond it, convolutions become operators of
            ONNX Runtime's own (fused, or in a blocked layout), which ours could not replace.

    Raises:
        EngineUnavailable: onnxruntime is not installed, too old, or has no CPU provider; or "fastlic" operators were
            asked for and the native module was not built.
        ValueError: no such level of optimisation, no such operators.
    """

    name = "ort-cpu"

    def __init__(self, threads: int, optimisation: str = "all", operators: str | None = None) -> None:
        if optimisation not in LEVELS:
            raise ValueError(f"optimisation must be one of {', '.join(LEVELS)}, not {optimisation!r}")
        self._ort = import_onnxruntime()
        self._threads = threads
        self._optimisation = optimisation
        self._library = _operator_library(operators)
        self._graphs: list[_OrtGraph] = []

    def load(self, model: bytes, name: str, exact: bool) -> Graph:
        """Prepare one graph; see `Engine.load`. Always float32; exact graphs get no operators but ONNX Runtime's."""
        try:
            session = self._session(model, None if exact else self._library)
        except Exception as error:  # the binding raises a dozen classes that share no base
            raise BundleError(
                f"graph {name}: ONNX Runtime {self._ort.__version__} cannot load it: {message_of(error)} "
                "The bundle is damaged or needs a newer onnxruntime."
            ) from error
        graph = _OrtGraph(session, name)
        self._graphs.append(graph)
        return graph

    def info(self) -> EngineInfo:
        """Name, ONNX Runtime's version, threads and level of optimisation."""
        return EngineInfo(
            name=self.name,
            version=self._ort.__version__,
            device="cpu",
            threads=self._threads,
            detail={
                "optimisation": self._optimisation,
                "operators": "fastlic" if self._library else "onnxruntime",
            },
        )

    def close(self) -> None:
        """Release every session with its threads and memory."""
        for graph in self._graphs:
            graph.session = None
        self._graphs.clear()

    def _session(self, model: bytes, library: str | None) -> Any:
        options = self._options()
        if library is not None:
            options.register_custom_ops_library(library)
            if self._optimisation in _BEYOND_BASIC:
                options.graph_optimization_level = self._ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        try:
            return kept_in_children(self._ort.InferenceSession(model, options, providers=["CPUExecutionProvider"]))
        except Exception:
            if library is None:
                raise
            # Perhaps a form of the operator that only ONNX Runtime has. If not, its own complaint is the one to show.
            return self._session(model, None)

    def _options(self) -> Any:
        return session_options(self._ort, self._threads, self._optimisation)


class _OrtGraph:
    """One session. `run` neither copies contiguous inputs nor its outputs, so IO binding would gain nothing."""

    def __init__(self, session: Any, name: str) -> None:
        self.session = session
        self._name = name
        self._inputs = [port.name for port in session.get_inputs()]

    def __call__(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        session = self.session
        if session is None:
            raise ValueError(f"graph {self._name}: its engine was closed")
        if len(inputs) != len(self._inputs):
            raise BundleError(
                f"graph {self._name}: has {len(self._inputs)} inputs, the manifest gives {len(inputs)}. "
                "Export the bundle again."
            )
        try:
            return session.run(None, dict(zip(self._inputs, inputs, strict=True)))
        except Exception as error:
            shapes = ", ".join(f"{array.dtype} {array.shape}" for array in inputs)
            if is_out_of_memory(error):
                raise MemoryError(f"graph {self._name}: not enough memory for {shapes}") from error
            raise BundleError(
                f"graph {self._name}: fails on {shapes}: {message_of(error)} The bundle is damaged; export it again."
            ) from error


def _operator_library(asked: str | None) -> str | None:
    """Path of the library whose operators replace ONNX Runtime's, if any."""
    if asked not in (None, "fastlic", "onnxruntime"):
        raise ValueError(f"operators must be fastlic or onnxruntime, not {asked!r}")
    if asked == "onnxruntime" or (asked is None and not native.available()):
        return None
    return str(native.module().__file__)
