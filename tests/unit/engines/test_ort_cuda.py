"""`ort-cuda` without a GPU: options, refusals, and its bindings on the CPU provider over an emulated device."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import onnxruntime
import pytest
import tiny_student
from emulation.cuda import EmulatedCuda

from fastlic.errors import BundleError, DeviceOutOfMemory, EngineUnavailable
from fastlic.kernels.cuda.arrays import ArraySpec, DeviceArray
from fastlic.runtime import engines
from fastlic.runtime.codec import Decoder, Encoder
from fastlic.runtime.engines import ort_cuda
from fastlic.runtime.engines.device import DeviceEngine
from fastlic.runtime.engines.ort_cuda import OrtCudaEngine, OrtCudaGraph
from fastlic.runtime.forms import Form, FormCache

PROVIDER_OPTIONS = OrtCudaEngine._provider_options


@pytest.fixture
def cuda(emulation: object) -> Iterator[EmulatedCuda]:
    """An emulated device, whose memory the CPU provider reads and writes when the stream comes to it."""
    run = OrtCudaGraph._run
    with (
        EmulatedCuda().installed() as emulated,
        mock.patch.object(ort_cuda, "PROVIDER", "CPUExecutionProvider"),
        mock.patch.object(ort_cuda, "MEMORY", "cpu"),
        mock.patch.object(OrtCudaEngine, "_provider_options", return_value={}),
        mock.patch.object(
            OrtCudaGraph,
            "_run",
            lambda graph, *given: emulated.enqueue(graph._stream.handle, lambda: run(graph, *given)),
        ),
    ):
        yield emulated


@pytest.fixture
def engine(cuda: EmulatedCuda, tmp_path: Path) -> Iterator[OrtCudaEngine]:
    """The engine on that device, with an empty cache of forms."""
    made = OrtCudaEngine(1, cache=tmp_path)
    yield made
    made.close()


@pytest.fixture
def doubling(make_single):
    x = np.zeros((2, 3), np.float32)
    return make_single("Add", [x, x], [np.float32])


def test_create_with_an_onnxruntime_for_the_cpu_says_what_to_install() -> None:
    with pytest.raises(EngineUnavailable, match=r"built for the CPU.*pip install onnxruntime-gpu"):
        engines.create("ort-cuda")


def test_create_without_a_gpu_says_so() -> None:
    with (
        EmulatedCuda(devices=0).installed(),
        mock.patch.object(onnxruntime, "get_available_providers", return_value=list(onnxruntime.get_all_providers())),
        pytest.raises(EngineUnavailable, match="no NVIDIA GPU is visible"),
    ):
        engines.create("ort-cuda")


def test_create_with_unknown_precision_is_refused() -> None:
    with pytest.raises(ValueError, match="precision must be f16 or f32, not 'int8'"):
        engines.create("ort-cuda", precision="int8")


def test_load_where_the_provider_does_not_start_is_refused_instead_of_running_on_the_cpu(
    engine: OrtCudaEngine, doubling: bytes
) -> None:
    with (
        mock.patch.object(ort_cuda, "PROVIDER", "CUDAExecutionProvider"),
        pytest.warns(UserWarning, match="CUDAExecutionProvider"),
        pytest.raises(EngineUnavailable, match=r"cannot start its CUDA provider.*onnxruntime-gpu\[cuda,cudnn\]"),
    ):
        engine.load_on_device(doubling, "hyper", exact=True)


def test_provider_options_keep_float32_whole_and_the_stream_ours(engine: OrtCudaEngine) -> None:
    options = PROVIDER_OPTIONS(engine)

    assert options["use_tf32"] == "0"
    assert options["user_compute_stream"] == str(engine.open_stream().handle)
    assert options["device_id"] == "0"


def test_engine_offers_device_graphs(engine: OrtCudaEngine) -> None:
    assert isinstance(engine, DeviceEngine)
    assert (engine.info().name, engine.info().device) == ("ort-cuda", "Emulated GPU")


def test_bound_graph_reads_and_writes_device_memory_in_stream_order(engine: OrtCudaEngine, doubling: bytes) -> None:
    graph, stream = engine.load_on_device(doubling, "double", exact=True), engine.open_stream()
    spec = ArraySpec(np.dtype(np.float32), (2, 3))
    x, y, out = (DeviceArray.empty(engine.device, spec) for _ in range(3))
    assert graph.outputs([spec, spec]) == [spec]
    bound = graph.bind([x, y], [out], stream)

    for value in (1, 5):
        x.upload(np.full(spec.shape, value, np.float32), stream)
        y.upload(np.full(spec.shape, 2, np.float32), stream)
        bound.enqueue()
        stream.synchronize()
        np.testing.assert_array_equal(out.numpy(), np.full(spec.shape, value + 2))
    bound.close()


def test_graph_on_host_arrays_gives_what_ort_cpu_gives(engine: OrtCudaEngine, doubling: bytes) -> None:
    graph = engine.load(doubling, "double", exact=True)

    for shape in ((2, 3), (2, 3), (4, 1)):
        x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
        np.testing.assert_array_equal(graph([x, x])[0], x + x)


def test_half_precision_that_was_not_prepared_says_what_to_run(cuda: EmulatedCuda, tmp_path: Path, doubling) -> None:
    engine = OrtCudaEngine(1, precision="f16", cache=tmp_path)

    engine.load_on_device(doubling, "hyper", exact=True)
    with pytest.raises(EngineUnavailable, match=r"synthesis was not written in float16 yet.*--engine ort-cuda"):
        engine.load_on_device(doubling, "synthesis", exact=False)


def test_half_precision_takes_the_prepared_form(cuda: EmulatedCuda, tmp_path: Path, doubling, make_single) -> None:
    x = np.zeros((2, 3), np.float32)
    FormCache(tmp_path).store(doubling, Form(precision="f16"), make_single("Mul", [x, x], [np.float32]))
    engine = OrtCudaEngine(1, precision="f16", cache=tmp_path)

    (squared,) = engine.load(doubling, "synthesis", exact=False)([x + 3, x + 3])

    np.testing.assert_array_equal(squared, x + 9)


def test_graph_with_wrong_inputs_is_a_bundle_error(engine: OrtCudaEngine, doubling: bytes) -> None:
    graph = engine.load_on_device(doubling, "hyper", exact=True)
    spec = ArraySpec(np.dtype(np.int16), (2, 3))

    with pytest.raises(BundleError, match="has 2 inputs, the manifest gives 1"):
        graph.outputs([spec])
    with pytest.raises(BundleError, match=r"graph hyper: fails on int16 \(2, 3\)"):
        graph.outputs([spec, spec])


def test_lack_of_memory_is_typed(engine: OrtCudaEngine, doubling: bytes) -> None:
    graph = engine.load_on_device(doubling, "hyper", exact=True)
    spec = ArraySpec(np.dtype(np.float32), (2, 3))
    graph.session = mock.Mock(wraps=graph.session)
    graph.session.run_with_iobinding.side_effect = RuntimeError("CUDA error: out of memory")

    with pytest.raises(DeviceOutOfMemory, match="graph hyper: the GPU's memory"):
        graph.outputs([spec, spec])


def test_bind_to_another_stream_is_refused(engine: OrtCudaEngine, doubling: bytes) -> None:
    graph = engine.load_on_device(doubling, "hyper", exact=True)

    with pytest.raises(ValueError, match="engine's own stream"):
        graph.bind([], [], engine.device.stream())


def test_picture_decodes_on_the_device(engine: OrtCudaEngine) -> None:
    bundle = tiny_student.bundle_bytes()
    with Encoder(bundle, threads=1) as encoder, Decoder(bundle, threads=1) as host:
        data = encoder.encode(tiny_student.picture(70, 90))
        expected = host.decode(data)

    with Decoder(bundle, engine=engine, threads=1) as decoder:
        for _ in range(3):
            np.testing.assert_allclose(decoder.decode(data).astype(int), expected, atol=1)
