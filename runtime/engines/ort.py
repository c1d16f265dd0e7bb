"""`ort-cpu`: ONNX Runtime on the CPU, the default engine.

Knows ONNX Runtime's options and what they cost; knows nothing of what the graphs compute.
The measurements behind the settings stand in docs/performance.md, "ONNX Runtime settings".
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastlic.errors import BundleError, EngineUnavailable
from fastlic.kernels import native
from fastlic.runtime.engines import EngineInfo, Graph

MINIMUM_VERSION = (1, 31)
"""The first ONNX Runtime whose CPU provider has DeformConv."""

_LEVELS = {
    "none": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}

_BEYOND_BASIC = ("extended", "all")

_FATAL = 4  # log severity. What is an error is raised; the same text on stderr, and warnings about graphs, are noise.

_CONFIG = {
    # Weights lie in the bundle, under its hashes. A graph that names a file outside finds none: /dev/null is no folder.
    "session.model_external_initializers_file_folder_path": os.devnull,
    # Each session has its own pool. With spinning, the idle pools of the other graphs take the cores from the one
    # that runs, and from the entropy decoder. One pool shared by all graphs can only be had for the whole process, and
    # then no session of the application may have its own.
    "session.intra_op.allow_spinning": "0",
    "session.inter_op.allow_spinning": "0",
    # Off is the default of all of these, and is part of the contract: they let a kernel round differently.
    "mlas.enable_gemm_fastmath_arm64_bfloat16": "0",
    "mlas.use_lut_gemm": "0",
    "optimization.enable_gelu_approximation": "0",
    "session.set_denormal_as_zero": "0",
}


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
        if optimisation not in _LEVELS:
            raise ValueError(f"optimisation must be one of {', '.join(_LEVELS)}, not {optimisation!r}")
        self._ort = _import_onnxruntime()
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
                f"graph {name}: ONNX Runtime {self._ort.__version__} cannot load it: {_text(error)} "
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
            return self._ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception:
            if library is None:
                raise
            # Perhaps a form of the operator that only ONNX Runtime has. If not, its own complaint is the one to show.
            return self._session(model, None)

    def _options(self) -> Any:
        options = self._ort.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.execution_mode = self._ort.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = getattr(self._ort.GraphOptimizationLevel, _LEVELS[self._optimisation])
        options.log_severity_level = _FATAL
        # The arena keeps pages from one picture to the next: without it, or with shrinkage after each run, a synthesis
        # takes a quarter more processor time to fault them in again.
        options.enable_cpu_mem_arena = True
        # A memory pattern is kept for every shape ever met, which grows without bound where pictures have many sizes,
        # and saves no time.
        options.enable_mem_pattern = False
        for key, value in _CONFIG.items():
            options.add_session_config_entry(key, value)
        return options


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
            if "allocate memory" in str(error) or "bad_alloc" in str(error):
                raise MemoryError(f"graph {self._name}: not enough memory for {shapes}") from error
            raise BundleError(
                f"graph {self._name}: fails on {shapes}: {_text(error)} The bundle is damaged; export it again."
            ) from error


def _operator_library(asked: str | None) -> str | None:
    """Path of the library whose operators replace ONNX Runtime's, if any."""
    if asked not in (None, "fastlic", "onnxruntime"):
        raise ValueError(f"operators must be fastlic or onnxruntime, not {asked!r}")
    if asked == "onnxruntime" or (asked is None and not native.available()):
        return None
    return str(native.module().__file__)


def _import_onnxruntime() -> Any:
    try:
        ort = importlib.import_module("onnxruntime")
        version = tuple(int(part) for part in ort.__version__.split(".")[:2])
        providers = ort.get_available_providers()
    except ImportError as error:
        raise EngineUnavailable(
            f"onnxruntime cannot be imported: {error}. Install it: pip install 'onnxruntime>=1.31'."
        ) from error
    if version < MINIMUM_VERSION:
        raise EngineUnavailable(
            f"onnxruntime {ort.__version__} has no DeformConv on the CPU. Update it: pip install 'onnxruntime>=1.31'."
        )
    if "CPUExecutionProvider" not in providers:
        raise EngineUnavailable(
            f"this onnxruntime has no CPU provider, only {', '.join(providers)}. Install the usual one."
        )
    return ort


def _text(error: Exception) -> str:
    """ONNX Runtime's message without its prefix and line breaks, as a sentence."""
    text = " ".join(str(error).split()).removeprefix("[ONNXRuntimeError] : ")
    return text if text.endswith(".") else text + "."
