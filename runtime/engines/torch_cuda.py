"""`torch` on a GPU: the bundle's graphs interpreted once, captured as a CUDA graph, replayed on our stream.

Knows how torch's tensors, streams and captures meet ours; deformable convolutions are our kernels, everything else is
torch's. This is the engine on which the kernels can be measured wherever torch has CUDA.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastlic.errors import BundleError, DeviceFailure, DeviceOutOfMemory, DeviceUnavailable, FastlicError
from fastlic.kernels.cuda import launch
from fastlic.kernels.cuda.arrays import ArraySpec, DeviceArray
from fastlic.kernels.cuda.captures import capturing
from fastlic.kernels.cuda.driver import Device, Stream, open_device
from fastlic.kernels.cuda.library import KernelLibrary
from fastlic.runtime.engines import EngineInfo, Graph
from fastlic.runtime.engines.device import HostGraph
from fastlic.runtime.engines.torch import TorchEngine, TorchGraph
from fastlic.runtime.engines.torch_operators import OPERATORS, Attributes, Operator
from fastlic.runtime.forms import FormCache, Precision, half_form

if TYPE_CHECKING:
    from torch import Tensor

_NO_SLOPE = int(np.float32(1).view(np.int32))
"""Bits of LeakyReLU's slope: none."""


class TorchCudaEngine(TorchEngine):
    """PyTorch on one GPU.

    Args:
        threads: of torch on the CPU.
        device: number of the GPU.
        precision: of graphs that are not exact. "f16" takes the forms that `fastlic build --engine ort-cuda` has made.
        kernels: whether deformable convolutions run in our kernels; otherwise in torch's gathers and products.
        cache: folder of those forms; None: the user's.

    Raises:
        EngineUnavailable: torch or onnx is missing, torch was built for the CPU, or there is no usable GPU.
        ValueError: no such precision.
    """

    def __init__(
        self,
        threads: int,
        *,
        device: int = 0,
        precision: Precision = "f32",
        kernels: bool = True,
        cache: Path | None = None,
    ) -> None:
        if precision not in ("f16", "f32"):
            raise ValueError(f"precision must be f16 or f32, not {precision!r}")
        super().__init__(threads)
        if not self._torch.cuda.is_available():
            build = self._torch.version.cuda
            raise DeviceUnavailable(
                f"torch {self._torch.__version__} has no GPU to run on: it is built for "
                f"{f'CUDA {build}' if build else 'the CPU only'}. Install a build for your driver."
            )
        self.device: Device = open_device(device)
        self.tensors_on = f"cuda:{device}"
        self._precision, self._forms = precision, FormCache(cache)
        self.deform = DeformKernel(KernelLibrary(self.device)) if kernels else None
        self._hosted: list[HostGraph] = []

    def load(self, model: bytes, name: str, exact: bool) -> Graph:
        """Prepare one graph for arrays of the host; see `Engine.load`."""
        graph = HostGraph(self, self.load_on_device(model, name, exact))
        self._hosted.append(graph)
        return graph

    def load_on_device(self, model: bytes, name: str, exact: bool) -> TorchDeviceGraph:
        """Prepare one graph; see `DeviceEngine.load_on_device`.

        Raises:
            EngineUnavailable: float16 is asked for and was not made.
        """
        if self._precision == "f16" and not exact:
            model = half_form(self._forms, model, name)
        operators: dict[str, Operator] = OPERATORS if self.deform is None else {**OPERATORS, "DeformConv": self.deform}
        graph = TorchGraph(self, name, self._proto(model, name), self.tensors_on, operators)
        self._graphs.append(graph)
        return TorchDeviceGraph(self, graph, name)

    def open_stream(self) -> Stream:
        """See `DeviceEngine.open_stream`."""
        return self.device.stream()

    def info(self) -> EngineInfo:
        """Name, PyTorch's version, the GPU, precision, and whose deformable convolution runs."""
        deform = "torch" if self.deform is None else "fastlic"
        detail = {"precision": self._precision, "deform": deform, "driver": self.device.driver}
        return EngineInfo(self.name, self._torch.__version__, self.device.name, self._threads, detail)

    def close(self) -> None:
        """Drop every graph."""
        for graph in self._hosted:
            graph.close()
        self._hosted.clear()
        super().close()
        if self.deform is not None:
            self.deform.close()

    @contextmanager
    def full_precision(self) -> Iterator[None]:
        """As on the CPU; and no TF32 nor sums in half on the GPU."""
        matmul, conv = self._torch.backends.cuda.matmul, self._torch.backends.cudnn.conv
        with super().full_precision(), self._torch.autocast("cuda", enabled=False):
            before = matmul.fp32_precision, conv.fp32_precision, matmul.allow_fp16_reduced_precision_reduction
            try:
                matmul.fp32_precision = conv.fp32_precision = "ieee"
                matmul.allow_fp16_reduced_precision_reduction = False
                yield
            finally:
                matmul.fp32_precision, conv.fp32_precision = before[:2]
                matmul.allow_fp16_reduced_precision_reduction = before[2]


class TorchDeviceGraph:
    """See `DeviceGraph`."""

    def __init__(self, engine: TorchCudaEngine, graph: TorchGraph, name: str) -> None:
        self._engine, self._graph, self._name = engine, graph, name

    def outputs(self, inputs: Sequence[ArraySpec]) -> list[ArraySpec]:
        """Run once on zeros; see `DeviceGraph.outputs`."""
        import torch

        stream, on = self._engine.open_stream(), self._engine.tensors_on
        with self._running(stream):
            zeros = [torch.from_numpy(np.zeros(spec.shape, spec.dtype)).to(on) for spec in inputs]
            made = self._graph.run(zeros)
            stream.synchronize()
        return [ArraySpec(torch.empty(0, dtype=one.dtype).numpy().dtype, tuple(one.shape)) for one in made]

    def bind(self, inputs: Sequence[DeviceArray], outputs: Sequence[DeviceArray], stream: Stream) -> TorchBinding:
        """See `DeviceGraph.bind`."""
        sources, targets = ([tensor_at(array) for array in side] for side in (inputs, outputs))

        def run() -> None:
            with self._running(stream):
                for target, made in zip(targets, self._graph.run(sources), strict=True):
                    if target.shape != made.shape or target.dtype != made.dtype:
                        raise BundleError(f"graph {self._name}: gave {made.dtype} {tuple(made.shape)} unexpectedly.")
                    target.copy_(made)

        return TorchBinding(recorded(run, stream))

    @contextmanager
    def _running(self, stream: Stream) -> Iterator[None]:
        """Everything on `stream`, in full precision; torch's lack of memory is ours."""
        with typed(f"graph {self._name}"), self._engine.full_precision(), torch_on(stream):
            if self._engine.deform is not None:
                self._engine.deform.stream = stream
            yield


class TorchBinding:
    """See `BoundGraph`. It is a CUDA graph itself, which no other can hold."""

    capturable = False

    def __init__(self, replay: Callable[[], None]) -> None:
        self._replay: Callable[[], None] | None = replay

    def enqueue(self) -> None:
        """See `BoundGraph.enqueue`."""
        assert self._replay is not None, "closed"
        self._replay()

    def close(self) -> None:
        """Drop the recording and its memory."""
        self._replay = None


class DeformKernel:
    """The operator `DeformConv` by our kernels: an entry of `OPERATORS`.

    Args:
        library: of the device.

    Attributes:
        stream: where launches go; torch's current stream must be the same.
    """

    def __init__(self, library: KernelLibrary) -> None:
        self._library = library
        self.stream: Stream | None = None

    def __call__(
        self,
        attributes: Attributes,
        x: Tensor,
        weight: Tensor,
        offset: Tensor,
        bias: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """(B, C, h, w), (N, C, 3, 3), (B, 18, h, w), (N,), (B, 9, h, w) -> (B, N, h, w); float16 or float32."""
        _check_form(attributes, weight)
        batch, channels, height, width = x.shape
        count = weight.shape[0]
        plan = launch.deform_conv2d(
            batch,
            height,
            width,
            channels,
            count,
            precision="f16" if x.element_size() == 2 else "f32",
            multiprocessors=self._library.device.multiprocessors,
        )
        if bias is None:
            bias = x.new_zeros(count)
        sources = (x, offset, offset if mask is None else mask)
        last = [tensor.permute(0, 2, 3, 1).contiguous() for tensor in sources]
        made = x.new_empty(batch, height, width, count)
        taps_first = weight.permute(2, 3, 1, 0).contiguous()  # (3, 3, C, N)
        inputs = [_At(tensor) for tensor in (*last, taps_first, bias.contiguous())]
        numbers = [height, width, channels, count, offset.shape[1], 0 if mask is None else mask.shape[1], _NO_SLOPE]
        assert self.stream is not None
        self._library.launch(plan, [*inputs, *numbers, _At(made)], self.stream)
        return made.permute(0, 3, 1, 2)

    def close(self) -> None:
        """Unload the kernels."""
        self._library.close()


class _At:
    """A tensor as an argument of a launch."""

    def __init__(self, tensor: Tensor) -> None:
        self.pointer = tensor.data_ptr()


def tensor_at(array: DeviceArray) -> Tensor:
    """The memory of an array as a tensor, without a copy."""
    import torch

    return torch.as_tensor(array, device=f"cuda:{array.device.index}")


def torch_on(stream: Stream) -> Any:
    """A context in which torch works on `stream`."""
    import torch

    return torch.cuda.stream(torch.cuda.ExternalStream(stream.handle, device=f"cuda:{stream.device.index}"))


def recorded(run: Callable[[], None], stream: Stream) -> Callable[[], None]:
    """Run once for real, then capture; what is returned enqueues a replay on `stream`."""
    import torch

    graph = torch.cuda.CUDAGraph()
    with typed("capture by torch"), stream.lock, torch_on(stream):
        run()
        stream.synchronize()
        external = torch.cuda.current_stream()
        try:
            with capturing(), torch.cuda.graph(graph, stream=external, capture_error_mode="thread_local"):
                run()
        except RuntimeError as error:
            # What ended the capture is hidden by what torch says of its end.
            cause = error.__context__
            raise (cause if isinstance(cause, FastlicError) else error) from None

    def replay() -> None:
        with typed("replay by torch"), torch_on(stream):
            graph.replay()

    return replay


@contextmanager
def typed(what: str) -> Iterator[None]:
    """Raise what torch says of memory and of the device as our errors.

    Raises:
        DeviceOutOfMemory: there is not enough memory.
        DeviceFailure: the device reports anything else.
    """
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise DeviceOutOfMemory(f"{what}: {error}") from error
    except torch.AcceleratorError as error:
        raise DeviceFailure(
            f"{what}: {error}. If later calls fail too, the process has lost the device: start it again."
        ) from error


def _check_form(attributes: Attributes, weight: Tensor) -> None:
    """Raise `BundleError` unless the kernels do this form: 3x3, stride 1, padding 1, no groups."""
    strides, dilations = (tuple(attributes.get(name, (1, 1))) for name in ("strides", "dilations"))
    pads = tuple(attributes.get("pads", (0,) * 4))
    groups = [attributes.get(name, 1) for name in ("group", "offset_group")]
    if (strides, dilations, pads, groups) != ((1, 1), (1, 1), (1,) * 4, [1, 1]) or tuple(weight.shape[2:]) != (3, 3):
        raise BundleError(
            "DeformConv on CUDA is 3x3 with stride 1, padding 1 and no groups: use ort-cuda for this student, or make "
            "the torch engine with kernels=False."
        )
