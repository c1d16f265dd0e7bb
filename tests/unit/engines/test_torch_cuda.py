"""`torch` on a GPU, without one: where tensors lie, our kernels as an operator, bindings on an emulated device."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import tiny_student
from emulation.cuda import EmulatedCuda

from fastlic.errors import BundleError, DeviceFailure, DeviceOutOfMemory, DeviceUnavailable, EngineUnavailable
from fastlic.kernels.cuda import driver
from fastlic.kernels.cuda.arrays import ArraySpec, DeviceArray
from fastlic.kernels.cuda.library import KernelLibrary
from fastlic.runtime import engines
from fastlic.runtime.bundle import Bundle, shipped
from fastlic.runtime.codec import Decoder, Encoder
from fastlic.runtime.engines import torch_cuda
from fastlic.runtime.engines.device import DeviceEngine
from fastlic.runtime.engines.torch import TorchEngine, TorchGraph
from fastlic.runtime.engines.torch_convolutions import deform_conv
from fastlic.runtime.engines.torch_cuda import DeformKernel, TorchCudaEngine
from fastlic.runtime.shapes import inputs_of_a_decode
from fastlic.runtime.student import Student

torch = pytest.importorskip("torch", reason="the engine needs torch")
onnx = pytest.importorskip("onnx", reason="the engine needs onnx")

GOLDEN = Path(__file__).parents[2] / "conformance" / "golden"
FORM = {"strides": [1, 1], "pads": [1, 1, 1, 1], "dilations": [1, 1], "group": 1, "offset_group": 1}


@pytest.fixture
def cuda(emulation: object) -> Iterator[EmulatedCuda]:
    """An emulated device; torch, which is a build for the CPU, works on its memory when streams come to it."""

    def tensor_at(array):
        memory = emulated.at(array.pointer, array.spec.nbytes)
        return torch.from_numpy(memory.view(array.dtype).reshape(array.shape))

    emulated = EmulatedCuda()
    with (
        emulated.installed(),
        mock.patch.object(torch.cuda, "is_available", return_value=True),
        mock.patch.object(torch_cuda, "torch_on", side_effect=nullcontext),
        mock.patch.object(torch_cuda, "tensor_at", tensor_at),
        mock.patch.object(torch_cuda, "recorded", lambda run, stream: lambda: emulated.enqueue(stream.handle, run)),
    ):
        yield emulated


@pytest.fixture
def engine(cuda: EmulatedCuda, tmp_path: Path) -> Iterator[TorchCudaEngine]:
    """The engine on that device, with torch's own deformable convolution."""
    made = TorchCudaEngine(1, kernels=False, cache=tmp_path)
    made.tensors_on = "cpu"
    yield made
    made.close()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_create_with_a_torch_for_the_cpu_says_so() -> None:
    with pytest.raises(DeviceUnavailable, match=r"has no GPU to run on: it is built for.*Install a build"):
        engines.create("torch", threads=1, device="cuda")


def test_create_without_a_device_stays_on_the_cpu() -> None:
    engine = engines.create("torch", threads=1)

    assert not isinstance(engine, DeviceEngine)
    assert engine.info().device == "cpu"


def test_create_with_a_device_offers_device_graphs(engine: TorchCudaEngine) -> None:
    assert isinstance(engine, DeviceEngine)
    assert engine.info().device == "Emulated GPU"
    assert engine.info().detail["deform"] == "torch"


@pytest.mark.parametrize("path", [*shipped(), *sorted(GOLDEN.glob("*.licb"))], ids=lambda path: path.stem)
def test_graphs_keep_their_tensors_on_one_device(path: Path) -> None:
    """The device "meta" has shapes but no numbers: an operator that mixes it with the CPU or asks for a number fails.

    On a GPU the one would fail as well, and the other wait for the device, which no capture allows.
    """
    engine = TorchEngine(1)
    with Bundle(path) as bundle:
        given = inputs_of_a_decode(Student(bundle, engines.create("ort-cpu", threads=1)), 64, 96)
        for name, kinds in given.items():
            graph = TorchGraph(engine, name, onnx.load_model_from_string(bundle.graph(name)), "meta")
            for kind in kinds:
                inputs = [
                    torch.empty(shape, dtype=torch.from_numpy(np.empty(0, dtype)).dtype, device="meta")
                    for dtype, shape in kind
                ]
                with engine.full_precision():
                    assert all(made.device.type == "meta" for made in graph.run(inputs)), name


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_our_kernel_as_an_operator_gives_what_torch_gives(
    cuda: EmulatedCuda, rng: np.random.Generator, dtype: str, masked: bool
) -> None:
    """Offsets in half are rounded first, so that both sample at the same places."""
    device = driver.open_device(0)
    kernel = DeformKernel(KernelLibrary(device))
    kernel.stream = device.stream()
    shapes = [(1, 8, 5, 9), (16, 8, 3, 3), (1, 18, 5, 9), (16,), *([(1, 9, 5, 9)] if masked else [])]
    given = [torch.from_numpy(rng.normal(0, 1, shape).astype(dtype)) for shape in shapes]

    def lend(tensor) -> None:
        memory = tensor.untyped_storage()
        view = np.ctypeslib.as_array((np.ctypeslib.ctypes.c_uint8 * memory.nbytes()).from_address(memory.data_ptr()))
        cuda.live[memory.data_ptr()] = view

    with mock.patch.object(torch_cuda, "_At", side_effect=lambda tensor: lend(tensor) or _Pointer(tensor)):
        made = kernel(FORM, *given)
        kernel.stream.synchronize()

    expected = deform_conv(FORM, *(tensor.float() for tensor in given))
    atol = 1e-4 if dtype == "float32" else 0.05
    np.testing.assert_allclose(made.float().numpy(), expected.numpy(), atol=atol)


class _Pointer:
    def __init__(self, tensor) -> None:
        self.pointer = tensor.data_ptr()


@pytest.mark.parametrize("change", [{"strides": [2, 2]}, {"pads": [0, 0, 0, 0]}, {"offset_group": 2}])
def test_form_that_the_kernel_lacks_is_refused(cuda: EmulatedCuda, change: dict) -> None:
    kernel = DeformKernel(KernelLibrary(driver.open_device(0)))
    x, weight, offset = torch.zeros(1, 8, 4, 4), torch.zeros(8, 8, 3, 3), torch.zeros(1, 18, 4, 4)

    with pytest.raises(BundleError, match="stride 1, padding 1 and no groups"):
        kernel({**FORM, **change}, x, weight, offset)


def test_picture_decodes_on_the_device(engine: TorchCudaEngine) -> None:
    bundle, image = tiny_student.bundle_bytes(), tiny_student.picture(70, 90)
    with Encoder(bundle, threads=1) as encoder, Decoder(bundle, engine=engine, threads=1) as decoder:
        data = encoder.encode(image)
        with Decoder(bundle, threads=1) as host:
            expected = host.decode(data)
        for _ in range(2):
            np.testing.assert_allclose(decoder.decode(data).astype(int), expected, atol=1)


def test_lack_of_memory_is_typed(engine: TorchCudaEngine, make_single) -> None:
    x = np.zeros((2, 3), np.float32)
    graph = engine.load_on_device(make_single("Add", [x, x], [np.float32]), "hyper", exact=True)
    spec = ArraySpec(np.dtype(np.float32), (2, 3))

    with (
        mock.patch.object(TorchGraph, "run", side_effect=torch.OutOfMemoryError("CUDA out of memory")),
        pytest.raises(DeviceOutOfMemory, match="graph hyper: CUDA out of memory"),
    ):
        graph.outputs([spec, spec])


def test_settings_of_the_gpu_are_the_applications_own_afterwards(engine: TorchCudaEngine) -> None:
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision, matmul.allow_fp16_reduced_precision_reduction
    with engine.full_precision():
        assert (matmul.fp32_precision, matmul.allow_fp16_reduced_precision_reduction) == ("ieee", False)

    assert (matmul.fp32_precision, matmul.allow_fp16_reduced_precision_reduction) == before


def test_half_precision_that_was_not_prepared_says_what_to_run(cuda: EmulatedCuda, tmp_path: Path, make_single) -> None:
    x = np.zeros((2, 3), np.float32)
    engine = TorchCudaEngine(1, precision="f16", cache=tmp_path)

    with pytest.raises(EngineUnavailable, match=r"synthesis was not written in float16 yet"):
        engine.load_on_device(make_single("Add", [x, x], [np.float32]), "synthesis", exact=False)


def test_binding_writes_where_it_is_bound(engine: TorchCudaEngine, make_single) -> None:
    x = np.zeros((2, 3), np.float32)
    graph = engine.load_on_device(make_single("Mul", [x, x], [np.float32]), "square", exact=True)
    spec, stream = ArraySpec(np.dtype(np.float32), (2, 3)), engine.open_stream()
    source, target = (DeviceArray.empty(engine.device, spec) for _ in range(2))
    bound = graph.bind([source, source], [target], stream)

    source.upload(x + 3, stream)
    bound.enqueue()
    stream.synchronize()

    np.testing.assert_array_equal(target.numpy(), x + 9)
    bound.close()


def test_one_capture_is_under_way_at_a_time() -> None:
    """Torch's and ours: it waits for the whole device before its own, which no capture survives."""
    under_way, most = [0], []

    @contextmanager
    def capture(*_: object, **__: object) -> Iterator[None]:
        under_way[0] += 1
        most.append(under_way[0])
        time.sleep(0.05)
        yield
        under_way[0] -= 1

    class Graph:
        replay = staticmethod(lambda: None)

    def work() -> None:
        with capture():
            pass

    with (
        EmulatedCuda().installed(),
        mock.patch.object(torch.cuda, "CUDAGraph", Graph),
        mock.patch.object(torch.cuda, "graph", capture),
        mock.patch.object(torch.cuda, "current_stream"),
        mock.patch.object(torch_cuda, "torch_on", side_effect=nullcontext),
        ThreadPoolExecutor(4) as pool,
    ):
        device = driver.open_device(0)
        streams = [device.stream() for _ in range(4)]
        jobs = [pool.submit(torch_cuda.recorded, lambda: None, stream) for stream in streams[:2]]
        jobs += [pool.submit(stream.capture, work) for stream in streams[2:]]
        for graph in [job.result() for job in jobs][2:]:
            graph.close()

    assert most == [1] * 4


@pytest.mark.parametrize("hidden", [False, True])
def test_lack_of_memory_during_a_capture_is_typed_whatever_its_end_says(hidden: bool) -> None:
    """Torch's end of a capture that went wrong raises over what went wrong."""
    runs = []

    @contextmanager
    def capture(*_: object, **__: object) -> Iterator[None]:
        try:
            yield
        finally:
            if hidden:
                raise RuntimeError("capture_end: the capture was invalidated")

    def run() -> None:
        runs.append(len(runs))
        if len(runs) == 2:  # the first is not captured
            raise DeviceOutOfMemory("graph synthesis: not enough")

    with (
        EmulatedCuda().installed(),
        mock.patch.object(torch.cuda, "CUDAGraph"),
        mock.patch.object(torch.cuda, "graph", capture),
        mock.patch.object(torch.cuda, "current_stream"),
        mock.patch.object(torch_cuda, "torch_on", side_effect=nullcontext),
        pytest.raises(DeviceOutOfMemory, match="graph synthesis"),
    ):
        torch_cuda.recorded(run, driver.open_device(0).stream())


def test_failure_of_the_device_is_not_blamed_on_the_bundle(engine: TorchCudaEngine, make_single) -> None:
    x = np.zeros((2, 3), np.float32)
    graph = engine.load_on_device(make_single("Mul", [x, x], [np.float32]), "square", exact=True)
    failing = mock.Mock(side_effect=torch.AcceleratorError("CUDA error: an illegal memory access was encountered"))

    with (
        mock.patch.object(torch.Tensor, "mul", failing),
        mock.patch.object(torch, "mul", failing),
        mock.patch.object(torch.Tensor, "__mul__", failing),
        pytest.raises(DeviceFailure, match=r"graph square: .*illegal memory access.*start it again"),
    ):
        graph.outputs([ArraySpec(np.dtype(np.float32), (2, 3))] * 2)
