"""`ort-cuda`: ONNX Runtime's CUDA provider, on tensors that stay on the device.

Knows the provider's options and how graphs are bound to addresses; knows nothing of what they compute. One stream for
all graphs: ONNX Runtime is told its stream when a graph is loaded.
Deformable convolutions are ONNX Runtime's. Exact graphs have no convolution (docs/exactness.md), so cuDNN's choice of
Winograd or FFT cannot touch them; TF32 is off for every graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fastlic.errors import BundleError, DeviceOutOfMemory, EngineUnavailable
from fastlic.kernels.cuda.arrays import ArraySpec, DeviceArray
from fastlic.kernels.cuda.driver import Stream, open_device
from fastlic.runtime.engines import EngineInfo, Graph
from fastlic.runtime.engines.device import HostGraph
from fastlic.runtime.engines.forks import kept_in_children
from fastlic.runtime.engines.ort_sessions import (
    import_onnxruntime,
    is_out_of_memory,
    message_of,
    session_options,
)
from fastlic.runtime.forms import FormCache, Precision, half_form

PROVIDER = "CUDAExecutionProvider"
MEMORY = "cuda"  # what ONNX Runtime calls the memory that arrays lie in


class OrtCudaEngine:
    """ONNX Runtime on one GPU.

    Args:
        threads: of the few nodes that ONNX Runtime keeps on the CPU (shapes).
        device: number of the GPU.
        precision: of graphs that are not exact. "f16" takes the forms that `fastlic build --engine ort-cuda` has made.
        cache: folder of those forms; None: the user's.

    Raises:
        EngineUnavailable: onnxruntime-gpu is not installed or does not find its libraries; or there is no usable GPU.
        ValueError: no such precision.
    """

    name = "ort-cuda"

    def __init__(
        self, threads: int, *, device: int = 0, precision: Precision = "f32", cache: Path | None = None
    ) -> None:
        if precision not in ("f16", "f32"):
            raise ValueError(f"precision must be f16 or f32, not {precision!r}")
        self._ort = import_onnxruntime()
        if PROVIDER not in self._ort.get_available_providers():
            raise EngineUnavailable(
                "this onnxruntime was built for the CPU. Replace it: pip uninstall onnxruntime, then "
                "pip install onnxruntime-gpu."
            )
        self.device = open_device(device)
        self._stream = self.device.stream()
        self._threads, self._precision, self._forms = threads, precision, FormCache(cache)
        self._graphs: list[HostGraph] = []
        self._loaded: list[OrtCudaGraph] = []

    def load(self, model: bytes, name: str, exact: bool) -> Graph:
        """Prepare one graph for arrays of the host; see `Engine.load`."""
        graph = HostGraph(self, self.load_on_device(model, name, exact))
        self._graphs.append(graph)
        return graph

    def load_on_device(self, model: bytes, name: str, exact: bool) -> OrtCudaGraph:
        """Prepare one graph; see `DeviceEngine.load_on_device`.

        Raises:
            EngineUnavailable: float16 is asked for and was not made; or ONNX Runtime cannot use the GPU.
        """
        if self._precision == "f16" and not exact:
            model = half_form(self._forms, model, name)
        options = session_options(self._ort, self._threads, "all")
        try:
            session = kept_in_children(
                self._ort.InferenceSession(model, options, providers=[(PROVIDER, self._provider_options())])
            )
        except Exception as error:  # the binding raises a dozen classes that share no base
            raise BundleError(
                f"graph {name}: ONNX Runtime {self._ort.__version__} cannot load it: {message_of(error)} "
                "The bundle is damaged or needs a newer onnxruntime-gpu."
            ) from error
        if PROVIDER not in session.get_providers():  # it warns and goes on with the CPU
            raise EngineUnavailable(
                f"onnxruntime {self._ort.__version__} cannot start its CUDA provider: its CUDA or cuDNN libraries are "
                "missing or of another version. Install onnxruntime-gpu[cuda,cudnn]."
            )
        graph = OrtCudaGraph(self._ort, session, name, self._stream)
        self._loaded.append(graph)
        return graph

    def open_stream(self) -> Stream:
        """The one stream; see `DeviceEngine.open_stream`."""
        return self._stream

    def info(self) -> EngineInfo:
        """Name, ONNX Runtime's version, the GPU, and the precision of what is not exact."""
        return EngineInfo(
            name=self.name,
            version=self._ort.__version__,
            device=self.device.name,
            threads=self._threads,
            detail={"precision": self._precision, "driver": self.device.driver},
        )

    def close(self) -> None:
        """Release every session with its memory."""
        for graph in self._graphs:
            graph.close()
        for loaded in self._loaded:
            loaded.session = None
        self._graphs.clear()
        self._loaded.clear()

    def _provider_options(self) -> dict[str, str]:
        return {
            "device_id": str(self.device.index),
            "user_compute_stream": str(self._stream.handle),
            "use_tf32": "0",
            # The other way doubles the arena at each growth, for shapes that are met only once.
            "arena_extend_strategy": "kSameAsRequested",
            # Timing every algorithm once per shape would take seconds for each new size of picture.
            "cudnn_conv_algo_search": "HEURISTIC",
            "cudnn_conv_use_max_workspace": "1",
        }


class OrtCudaGraph:
    """A session; see `DeviceGraph`."""

    def __init__(self, ort: Any, session: Any, name: str, stream: Stream) -> None:
        self.session, self.name, self._ort, self._stream = session, name, ort, stream
        self._inputs = [port.name for port in session.get_inputs()]
        self._outputs = [port.name for port in session.get_outputs()]

    def outputs(self, inputs: Sequence[ArraySpec]) -> list[ArraySpec]:
        """Run once on zeros; see `DeviceGraph.outputs`."""
        self._check_count(inputs)
        device = self._stream.device
        zeros = [DeviceArray.empty(device, spec) for spec in inputs]
        binding = self.session.io_binding()
        with self._stream.lock:
            for name, array in zip(self._inputs, zeros, strict=True):
                self._stream.fill(array.pointer, 0, array.spec.nbytes)
                self._bind(binding.bind_input, name, array)
            for name in self._outputs:
                binding.bind_output(name, MEMORY, device.index)
            self._run(binding, inputs)
            self._stream.synchronize()
        found = [_spec(value) for value in binding.get_outputs()]
        for array in zeros:
            array.close()
        return found

    def bind(self, inputs: Sequence[DeviceArray], outputs: Sequence[DeviceArray], stream: Stream) -> OrtCudaBinding:
        """See `DeviceGraph.bind`."""
        if stream is not self._stream:
            raise ValueError(f"graph {self.name}: was loaded for the engine's own stream, see open_stream")
        self._check_count(inputs)
        binding = self.session.io_binding()
        for name, array in zip(self._inputs, inputs, strict=True):
            self._bind(binding.bind_input, name, array)
        for name, array in zip(self._outputs, outputs, strict=True):
            self._bind(binding.bind_output, name, array)
        specs = [array.spec for array in inputs]
        return OrtCudaBinding(lambda: self._run(binding, specs))

    def _bind(self, bind: Any, name: str, array: DeviceArray) -> None:
        bind(name, MEMORY, array.device.index, array.dtype.type, array.shape, array.pointer)

    def _run(self, binding: Any, inputs: Sequence[ArraySpec]) -> None:
        if self.session is None:
            raise ValueError(f"graph {self.name}: its engine was closed")
        options = self._ort.RunOptions()
        options.add_run_config_entry("disable_synchronize_execution_providers", "1")
        try:
            with self._stream.device.current():
                self.session.run_with_iobinding(binding, options)
        except Exception as error:
            shapes = ", ".join(map(str, inputs))
            if is_out_of_memory(error):
                raise DeviceOutOfMemory(f"graph {self.name}: the GPU's memory is not enough for {shapes}.") from error
            raise BundleError(
                f"graph {self.name}: fails on {shapes}: {message_of(error)} The bundle is damaged; export it again."
            ) from error

    def _check_count(self, inputs: Sequence[object]) -> None:
        if len(inputs) != len(self._inputs):
            raise BundleError(
                f"graph {self.name}: has {len(self._inputs)} inputs, the manifest gives {len(inputs)}. "
                "Export the bundle again."
            )


class OrtCudaBinding:
    """See `BoundGraph`. ONNX Runtime allocates while it runs, so its work is never captured."""

    capturable = False

    def __init__(self, run: Any) -> None:
        self._run = run

    def enqueue(self) -> None:
        """See `BoundGraph.enqueue`."""
        self._run()

    def close(self) -> None:
        """Drop the binding."""
        self._run = None


def _spec(value: Any) -> ArraySpec:
    """Type and shape of an `OrtValue`, whose type reads `tensor(int16)`."""
    kind = value.data_type().removeprefix("tensor(").removesuffix(")")
    names = {"float": np.float32, "double": np.float64}
    return ArraySpec(np.dtype(names.get(kind, kind)), tuple(value.shape()))
