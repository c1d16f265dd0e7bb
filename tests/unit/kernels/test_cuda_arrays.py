"""Arrays on the device, and what other libraries see of them."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import numpy as np
import pytest
from emulation.cuda import EmulatedCuda

from fastlic.kernels.cuda import arrays, driver
from fastlic.kernels.cuda.arrays import ArraySpec, DeviceArray

torch = pytest.importorskip("torch")


@pytest.fixture
def cuda(emulation: object) -> Iterator[EmulatedCuda]:
    """The emulated driver, whose memory is host memory."""
    with EmulatedCuda().installed() as emulated:
        yield emulated


@pytest.fixture
def array(cuda: EmulatedCuda) -> DeviceArray:
    """(2, 3) int16 on the device: 0 to 5."""
    device = driver.open_device(0)
    array, stream = DeviceArray.empty(device, ArraySpec(np.dtype(np.int16), (2, 3))), device.stream()
    array.upload(np.arange(6, dtype=np.int16).reshape(2, 3), stream)
    stream.synchronize()
    return array


def test_array_interface_has_address_type_and_shape(array: DeviceArray) -> None:
    interface = array.__cuda_array_interface__

    assert (interface["shape"], interface["typestr"], interface["strides"]) == ((2, 3), "<i2", None)
    assert interface["data"] == (array.pointer, False)


def test_dlpack_hands_over_the_memory_itself(array: DeviceArray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "_DLPACK_CUDA", 1)  # the CPU, where the emulated memory is

    tensor = torch.from_dlpack(array)

    assert (tensor.dtype, tensor.tolist(), tensor.data_ptr()) == (torch.int16, [[0, 1, 2], [3, 4, 5]], array.pointer)


def test_dlpack_keeps_the_memory_until_the_consumer_is_done(
    cuda: EmulatedCuda, array: DeviceArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays, "_DLPACK_CUDA", 1)
    tensor = torch.from_dlpack(array)
    array_size = cuda.allocated()

    del array
    gc.collect()
    assert cuda.allocated() == array_size
    assert tensor[1, 2] == 5
    del tensor
    gc.collect()

    assert arrays._lent == {}


def test_dlpack_capsule_that_nobody_takes_keeps_nothing(array: DeviceArray) -> None:
    capsule = array.__dlpack__()
    assert len(arrays._lent) == 1

    del capsule
    gc.collect()

    assert arrays._lent == {}


def test_dlpack_says_it_is_on_a_gpu(array: DeviceArray) -> None:
    assert array.__dlpack_device__() == (2, 0)
