"""`ort-cpu`: ONNX Runtime on the CPU, the default engine.

Knows which operators are ours and how graphs are run; knows nothing of what they compute.
"""

from __future__ import annotations

import threading
import weakref
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
    require_headroom,
    session_options,
)

_BEYOND_BASIC = ("extended", "all")


class OrtCpuEngine:
    """ONNX Runtime's CPU provider.

    Memory: until `close` each graph keeps buffers for the largest shape it has met, up to 1.7 times what that shape
    alone needs where shapes vary (the arena fragments), and does not grow beyond. When memory is not enough, all give
    theirs back: sessions are made anew when they are next needed.

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
        graph = _OrtGraph(self, model, name, exact)
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
            graph.close()
        self._graphs.clear()

    def release(self) -> None:
        """Let every graph give back the buffers that it keeps; what runs now does so at its end."""
        for graph in list(self._graphs):
            graph.release()

    def session(self, model: bytes, name: str, exact: bool) -> Any:
        """A session for one graph; errors as of `load`."""
        require_headroom(name)
        try:
            return self._session(model, None if exact else self._library)
        except Exception as error:  # the binding raises a dozen classes that share no base
            if is_out_of_memory(error):
                raise MemoryError(f"graph {name}: not enough memory to load it") from error
            raise BundleError(
                f"graph {name}: ONNX Runtime {self._ort.__version__} cannot load it: {message_of(error)} "
                "The bundle is damaged or needs a newer onnxruntime."
            ) from error

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
    """One graph. `run` neither copies contiguous inputs nor its outputs, so IO binding would gain nothing.

    When memory is not enough, most of it is what graphs keep from earlier, larger pictures. ONNX Runtime returns that
    only with the session, so the engine takes all sessions away, and each is made anew when it is next needed.

    Attributes:
        session: None when it was taken away.
    """

    def __init__(self, engine: OrtCpuEngine, model: bytes, name: str, exact: bool) -> None:
        self._engine = weakref.ref(engine)  # an engine that nobody closed shall go with its last user, and this with it
        self._model, self._name, self._exact = model, name, exact
        self._lock = threading.Lock()
        self._closed = False
        self.session: Any = engine.session(model, name, exact)
        self._inputs = [port.name for port in self.session.get_inputs()]

    def __call__(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        if len(inputs) != len(self._inputs):
            raise BundleError(
                f"graph {self._name}: has {len(self._inputs)} inputs, the manifest gives {len(inputs)}. "
                "Export the bundle again."
            )
        session = self._present()
        try:
            return session.run(None, dict(zip(self._inputs, inputs, strict=True)))
        except Exception as error:
            shapes = ", ".join(f"{array.dtype} {array.shape}" for array in inputs)
            if is_out_of_memory(error):
                del session  # or the traceback would hold it, with all of its memory
                self._release_all()
                raise MemoryError(f"graph {self._name}: not enough memory for {shapes}") from error.with_traceback(None)
            raise BundleError(
                f"graph {self._name}: fails on {shapes}: {message_of(error)} The bundle is damaged; export it again."
            ) from error

    def release(self) -> None:
        """Give the session up; the next call makes another."""
        with self._lock:
            self.session = None

    def close(self) -> None:
        """Give the session up for good."""
        with self._lock:
            self.session, self._closed = None, True

    def _release_all(self) -> None:
        if engine := self._engine():
            engine.release()

    def _present(self) -> Any:
        try:
            require_headroom(self._name)
        except MemoryError:
            self._release_all()
            require_headroom(self._name)
        with self._lock:
            if self.session is None:
                engine = self._engine()
                if self._closed or engine is None:
                    raise ValueError(f"graph {self._name}: its engine was closed")
                self.session = engine.session(self._model, self._name, self._exact)
            return self.session


def _operator_library(asked: str | None) -> str | None:
    """Path of the library whose operators replace ONNX Runtime's, if any."""
    if asked not in (None, "fastlic", "onnxruntime"):
        raise ValueError(f"operators must be fastlic or onnxruntime, not {asked!r}")
    if asked == "onnxruntime" or (asked is None and not native.available()):
        return None
    return str(native.module().__file__)
