"""The driver module over an emulated driver: order of work, captures, memory, and the error for each cause."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from unittest import mock

import numpy as np
import pytest
from emulation.cuda import EmulatedCuda

from fastlic.errors import (
    DeviceFailure,
    DeviceOutOfMemory,
    DeviceUnavailable,
    DriverUnavailable,
    KernelsUnavailable,
)
from fastlic.kernels.cuda import bindings, driver, fatbins, launch
from fastlic.kernels.cuda.addresses import Region
from fastlic.kernels.cuda.arrays import ArraySpec, DeviceArray
from fastlic.kernels.cuda.driver import Device
from fastlic.kernels.cuda.library import KernelLibrary


@pytest.fixture
def cuda(emulation: object) -> Iterator[EmulatedCuda]:
    """The emulated driver, in place of pycuda's."""
    with EmulatedCuda().installed() as emulated:
        yield emulated


@pytest.fixture
def device(cuda: EmulatedCuda) -> Device:
    """Its device."""
    return driver.open_device(0)


def test_open_device_tells_what_it_is_and_is_one_object(device: Device) -> None:
    assert (device.name, device.capability, device.driver) == ("Emulated GPU", (9, 0), "13.0")
    assert driver.open_device(0) is device


@pytest.mark.parametrize(
    ("emulated", "index", "error", "words"),
    [
        (EmulatedCuda(devices=0), 0, DeviceUnavailable, "no NVIDIA GPU is visible.*ort-cpu"),
        (EmulatedCuda(), 1, DeviceUnavailable, "no GPU 1; 1 are visible"),
        (EmulatedCuda(version=11080), 0, DriverUnavailable, "driver is of CUDA 11.8; 12.0 is needed. Update"),
        (EmulatedCuda(capability=(7, 0)), 0, DeviceUnavailable, "compute capability 7.0; .* need 7.5"),
    ],
)
def test_open_device_that_cannot_be_used_says_why(
    emulated: EmulatedCuda, index: int, error: type[Exception], words: str
) -> None:
    with emulated.installed(), pytest.raises(error, match=words):
        driver.open_device(index)


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        (ModuleNotFoundError("No module named 'pycuda'"), r"pycuda is not installed.*fastlic\[gpu\]"),
        (ImportError("libcuda.so.1: cannot open shared object file"), "libcuda.so.1.*no NVIDIA driver"),
    ],
)
def test_open_device_without_pycuda_or_driver_says_which(cause: ImportError, words: str) -> None:
    with (
        mock.patch.object(bindings.importlib, "import_module", side_effect=cause),
        pytest.raises(DriverUnavailable, match=words),
    ):
        driver.open_device(0)


def test_work_runs_in_order_when_it_is_waited_for(device: Device) -> None:
    stream, array = device.stream(), DeviceArray.empty(device, ArraySpec(np.dtype(np.int32), (5,)))
    pinned = device.allocate_host(20)
    result = pinned.view(np.int32, 5)
    result[...] = 7

    array.upload(np.arange(5, dtype=np.int32), stream)
    array.download(result, stream)
    assert (result == 7).all()  # nothing has been waited for
    stream.synchronize()

    assert result.tolist() == [0, 1, 2, 3, 4]
    assert array.numpy().tolist() == [0, 1, 2, 3, 4]


def test_stream_waits_for_an_event_of_another(device: Device) -> None:
    first, second, event = device.stream(), device.stream(), device.event()
    array = DeviceArray.empty(device, ArraySpec(np.dtype(np.uint8), (4,)))

    first.fill(array.pointer, 1, 4)
    event.record(first)
    second.wait(event)
    second.fill(array.pointer + 1, 2, 2)
    second.synchronize()

    assert array.numpy().tolist() == [1, 2, 2, 1]


def test_events_measure_on_the_device(device: Device) -> None:
    stream, start, end = device.stream(), device.event(timing=True), device.event(timing=True)
    start.record(stream)
    end.record(stream)
    end.synchronize()

    assert end.seconds_since(start) > 0


def test_box_is_copied_between_pitched_arrays(device: Device, rng: np.random.Generator) -> None:
    stream = device.stream()
    values = rng.integers(0, 99, (3, 6, 8)).astype(np.int16)
    whole, part = (DeviceArray.empty(device, ArraySpec(np.dtype(np.int16), shape)) for shape in [(3, 6, 8), (3, 4, 5)])
    whole.upload(values, stream)

    stream.copy_box(Region(whole.pointer + 2 * (8 + 2), 16, 6), Region(part.pointer, 10, 4), (3, 4, 10))

    stream.synchronize()
    np.testing.assert_array_equal(part.numpy(), values[:, 1:5, 2:7])


def test_captured_work_runs_at_each_launch_and_not_before(cuda: EmulatedCuda, device: Device) -> None:
    library, stream = KernelLibrary(device), device.stream()
    specs = [ArraySpec(np.dtype(np.int16), shape) for shape in [(6, 5), (5, 6)]]
    source, target = (DeviceArray.empty(device, spec) for spec in specs)
    plan = launch.transpose(1, 6, 5, bits=16)

    graph = stream.capture(lambda: library.launch(plan, [source, 6, 5, target], stream))
    stream.synchronize()
    assert cuda.launches == []
    for first in (0, 100):
        values = np.arange(first, first + 30, dtype=np.int16).reshape(6, 5)
        source.upload(values, stream)
        graph.launch(stream)
        stream.synchronize()
        np.testing.assert_array_equal(target.numpy(), values.T)

    assert cuda.launches == ["transpose_16"] * 2


def test_capture_of_what_cannot_be_captured_fails_and_leaves_the_stream_usable(device: Device) -> None:
    stream = device.stream()

    with pytest.raises(DeviceFailure, match="capturing"):
        stream.capture(lambda: device.allocate(10))

    stream.capture(lambda: None).launch(stream)
    stream.synchronize()


def test_capture_holds_nothing_of_another_thread_and_is_not_spoilt_by_its_wait(device: Device) -> None:
    """Engines with one stream for all graphs share it between threads."""
    stream, array = device.stream(), DeviceArray.empty(device, ArraySpec(np.dtype(np.uint8), (4,)))
    capturing = threading.Event()

    def other() -> None:
        capturing.wait(10)
        stream.fill(array.pointer + 1, 7, 2)
        stream.synchronize()

    def work() -> None:
        stream.fill(array.pointer, 1, 1)
        capturing.set()
        worker.join(0.2)  # without a lock it would be through by now

    stream.fill(array.pointer, 0, 4)
    worker = threading.Thread(target=other)
    worker.start()
    graph = stream.capture(work)
    worker.join(10)
    assert array.numpy().tolist() == [0, 7, 7, 0]

    stream.fill(array.pointer, 0, 4)
    graph.launch(stream)
    stream.synchronize()
    assert array.numpy().tolist() == [1, 0, 0, 0]


def test_garbage_with_device_memory_waits_for_the_end_of_a_capture(cuda: EmulatedCuda, device: Device) -> None:
    """Collected in the midst of it, the memory would be given back by the thread that captures."""
    before, stream = gc.get_threshold(), device.stream()
    gc.collect()
    gc.set_threshold(1 << 30)  # what is made from here on stays among the young
    kept: list[object] = [[device.allocate(100)]]
    kept[0].append(kept[0])  # type: ignore[attr-defined]

    def work() -> None:
        gc.set_threshold(1)
        kept.clear()
        [[] for _ in range(1000)].clear()

    try:
        stream.capture(work)
    finally:
        gc.set_threshold(*before)

    gc.collect()
    assert cuda.allocated() == 0


def test_memory_is_given_back_by_close_and_by_the_collector_of_any_thread(cuda: EmulatedCuda, device: Device) -> None:
    kept = [device.allocate(100), device.allocate_host(50), device.allocate(0)]
    assert cuda.allocated() == 151

    kept.pop(0).close()
    assert cuda.allocated() == 51
    worker = threading.Thread(target=lambda: (kept.clear(), gc.collect()))
    worker.start()
    worker.join()

    assert cuda.allocated() == 0


def test_memory_that_does_not_fit_is_typed_and_the_device_stays_usable(cuda: EmulatedCuda, device: Device) -> None:
    cuda.memory = 1000

    with pytest.raises(DeviceOutOfMemory, match="Emulated GPU: not enough memory") as caught:
        device.allocate(1001)
    with pytest.raises(DeviceOutOfMemory):
        device.allocate_host(1001)

    assert isinstance(caught.value, MemoryError)
    device.allocate(1000)


def test_kernels_that_do_not_fit_say_what_to_do(device: Device) -> None:
    with pytest.raises(KernelsUnavailable, match=r"do not load on Emulated GPU \(sm_90.*FASTLIC_CUDA_ARCHS=90"):
        device.load(b"of another device")
    with pytest.raises(KernelsUnavailable, match="lack transpose_64"):
        device.load(b"transpose").function("transpose_64")


def test_library_without_installed_kernels_says_how_to_install_them(device: Device) -> None:
    with (
        mock.patch.object(fatbins, "missing", return_value=["gdn"]),
        mock.patch.object(fatbins, "load", side_effect=KernelsUnavailable("install them")),
        pytest.raises(KernelsUnavailable, match="install them"),
    ):
        KernelLibrary(device)


def test_failed_launch_is_typed(cuda: EmulatedCuda, device: Device) -> None:
    stream, array = device.stream(), DeviceArray.empty(device, ArraySpec(np.dtype(np.int16), (4, 4)))
    cuda.fail_launch = 0
    KernelLibrary(device).launch(launch.transpose(1, 4, 4, bits=16), [array, 4, 4, array], stream)

    with pytest.raises(DeviceFailure, match=r"unspecified launch failure.*start it again"):
        stream.synchronize()


def test_device_in_the_child_of_a_fork_is_refused(device: Device) -> None:
    with mock.patch.object(os, "getpid", return_value=0), pytest.raises(DeviceFailure, match=r"forked.*spawn"):
        device.stream()
    with mock.patch.object(os, "getpid", return_value=0), pytest.raises(DriverUnavailable, match=r"forked.*spawn"):
        driver.open_device(0)


def test_context_is_never_left_current(cuda: EmulatedCuda, device: Device) -> None:
    device.stream().synchronize()
    with pytest.raises(DeviceFailure):
        device.stream().capture(lambda: device.allocate(10))

    assert cuda._stack() == []
