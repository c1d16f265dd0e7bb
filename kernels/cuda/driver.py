"""The only file that works with the CUDA driver: a device, its memory, streams, events, modules and captured graphs.

Works in the device's primary context, which torch, cupy, TensorRT and ONNX Runtime share, so their pointers and streams
are valid here and ours there. Nothing is imported before `open_device`; what fails is one of the errors of
`fastlic.errors`. Knows nothing of kernels: which to launch, and in what grid, stands in `launch`.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

import numpy as np

from fastlic.errors import (
    DeviceFailure,
    DeviceOutOfMemory,
    DeviceUnavailable,
    DriverUnavailable,
    FastlicError,
    KernelsUnavailable,
)
from fastlic.kernels.cuda import bindings
from fastlic.kernels.cuda.addresses import Addressed, Region
from fastlic.kernels.cuda.captures import capturing
from fastlic.kernels.cuda.launch import Launch

MINIMUM_DRIVER = 12000
"""CUDA version of the oldest driver, as the driver counts: 1000 * major + 10 * minor."""
MINIMUM_CAPABILITY = (7, 5)
"""The oldest devices that the kernels are made for."""

_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: no waiting for the default stream, which belongs to the application
_THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: other threads may allocate meanwhile
_NO_TIMING = 2  # CU_EVENT_DISABLE_TIMING


def open_device(index: int) -> Device:
    """The device of that number, as CUDA counts them; one object per device and process.

    Raises:
        DriverUnavailable: there is no driver or no pycuda, or the driver is too old; or this process was forked from
            one that uses the device.
        DeviceUnavailable: there is no such device, or it is older than sm_75.
    """
    device = _opened(index)
    if device.process != os.getpid():
        raise DriverUnavailable(f"{device.name}: {_FORKED}")
    return device


_FORKED = (
    "CUDA was started before this process was forked, and does not survive that. Start processes with 'spawn', or make "
    "decoders only after the fork."
)


@cache
def _opened(index: int) -> Device:
    return Device(index)


class Device:
    """A GPU, worked with in its primary context. May be used by several threads at once.

    Attributes:
        index: as CUDA counts devices.
        name: for example `NVIDIA H200`.
        capability: (major, minor).
        total_memory: bytes.
        multiprocessors: number of them.
        driver: CUDA version of the driver, for example `13.0`.
        process: that opened it.
    """

    def __init__(self, index: int) -> None:
        self._cuda = cuda = bindings.pycuda()
        try:
            cuda.init()
            version, count = cuda.get_driver_version(), cuda.Device.count()
        except cuda.Error as error:
            if "no CUDA-capable device" in str(error):
                raise DeviceUnavailable(f"no NVIDIA GPU is visible here ({error}). Use the engine ort-cpu.") from None
            raise DriverUnavailable(f"NVIDIA's driver does not start: {error}. See what nvidia-smi says.") from None
        self.driver = f"{version // 1000}.{version % 1000 // 10}"
        if version < MINIMUM_DRIVER:
            raise DriverUnavailable(
                f"NVIDIA's driver is of CUDA {self.driver}; {MINIMUM_DRIVER // 1000}.{MINIMUM_DRIVER % 1000 // 10} is "
                "needed. Update the driver, or use the engine ort-cpu."
            )
        if not 0 <= index < count:
            raise DeviceUnavailable(f"there is no GPU {index}; {count} are visible, counted from 0.")
        try:
            device = cuda.Device(index)
            self.index, self.name = index, device.name()
            self.capability = device.compute_capability()
            self.total_memory = device.total_memory()
            self.multiprocessors = device.get_attribute(cuda.device_attribute.MULTIPROCESSOR_COUNT)
            if self.capability >= MINIMUM_CAPABILITY:
                self._context = device.retain_primary_context()
        except cuda.Error as error:
            raise DeviceUnavailable(f"GPU {index} cannot be used: {error}. See what nvidia-smi says.") from None
        if self.capability < MINIMUM_CAPABILITY:
            raise DeviceUnavailable(
                f"{self.name} has compute capability {'.'.join(map(str, self.capability))}; fastlic's kernels need "
                f"{'.'.join(map(str, MINIMUM_CAPABILITY))}. Use the engine ort-cpu."
            )
        self.process = os.getpid()

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make the primary context current in this thread; what the driver complains of inside is a typed error.

        Raises:
            DeviceOutOfMemory: the driver has no more memory.
            DeviceFailure: anything else that the driver reports; or the process was forked.
        """
        if os.getpid() != self.process:
            raise DeviceFailure(f"{self.name}: {_FORKED}")
        try:
            self._context.push()
            try:
                yield
            finally:
                self._cuda.Context.pop()
        except self._cuda.MemoryError as error:
            raise DeviceOutOfMemory(f"{self.name}: not enough memory: {error}.") from None
        except self._cuda.Error as error:
            raise DeviceFailure(
                f"{self.name}: {error}. If later calls fail too, the process has lost the device: start it again."
            ) from error

    def free_memory(self) -> int:
        """Bytes that nobody has allocated."""
        with self.current():
            return int(self._cuda.mem_get_info()[0])

    def allocate(self, size: int) -> Buffer:
        """Device memory of `size` bytes, uninitialised, aligned to 256 bytes.

        Raises:
            DeviceOutOfMemory: there is not so much left.
        """
        with self.current():
            return Buffer(self, self._cuda.mem_alloc(max(size, 1)), size)

    def allocate_host(self, size: int) -> HostBuffer:
        """Pinned host memory of `size` bytes, mapped into the device's address space.

        Raises:
            DeviceOutOfMemory: so much cannot be pinned.
        """
        with self.current():
            flags = self._cuda.host_alloc_flags.DEVICEMAP | self._cuda.host_alloc_flags.PORTABLE
            return HostBuffer(self, self._cuda.pagelocked_empty(max(size, 1), np.uint8, mem_flags=flags), size)

    def stream(self) -> Stream:
        """A new stream, which does not wait for the default stream."""
        with self.current():
            return Stream(self, self._cuda.Stream(_NON_BLOCKING))

    def event(self, timing: bool = False) -> Event:
        """A new event; only one with `timing` can be asked for times."""
        with self.current():
            return Event(self, self._cuda.Event(0 if timing else _NO_TIMING))

    def load(self, image: bytes) -> Module:
        """The kernels of a fatbin, a cubin or PTX.

        Raises:
            KernelsUnavailable: it holds nothing that this device and this driver can run.
        """
        with self.current():
            try:
                return Module(self, self._cuda.module_from_buffer(image))
            except self._cuda.MemoryError:
                raise
            except self._cuda.Error as error:
                capability = "".join(map(str, self.capability))
                raise KernelsUnavailable(
                    f"the kernels do not load on {self.name} (sm_{capability}, driver of CUDA {self.driver}): {error}. "
                    f"Update the driver, or install fastlic from its sources with FASTLIC_CUDA_ARCHS={capability}."
                ) from None


class _Owned:
    """Something of the driver's that is given back once, in whatever thread."""

    def __init__(self, device: Device, handle: Any) -> None:
        self.device, self._handle = device, handle

    def close(self) -> None:
        """Give it back to the driver. It cannot be used afterwards; closing again does nothing."""
        handle, self._handle = self._handle, None
        if handle is not None and os.getpid() == self.device.process:
            with self.device.current():
                self._release(handle)
                del handle

    def _release(self, handle: Any) -> None:
        """What to do besides dropping the last reference, which is enough for most."""

    def __del__(self) -> None:
        # At the interpreter's end the driver takes everything back itself.
        if not sys.is_finalizing() and getattr(self, "_handle", None) is not None:
            with suppress(FastlicError):
                self.close()


class Buffer(_Owned):
    """Device memory. `pointer` is its address, `size` its bytes."""

    def __init__(self, device: Device, handle: Any, size: int) -> None:
        super().__init__(device, handle)
        self.pointer, self.size = int(handle), size

    def _release(self, handle: Any) -> None:
        handle.free()


class HostBuffer(_Owned):
    """Pinned host memory that the device reaches at `pointer`. Views must not be used after `close`.

    What a kernel writes is there once the host has waited for it; what the host writes, for kernels launched later.
    """

    def __init__(self, device: Device, array: np.ndarray, size: int) -> None:
        super().__init__(device, array)
        self.pointer, self.size = int(array.base.get_device_pointer()), size  # type: ignore[union-attr]

    def _release(self, handle: Any) -> None:
        handle.base.free()

    def view(self, dtype: Any, shape: int | tuple[int, ...]) -> np.ndarray:
        """The beginning as an array of that type and shape, without a copy."""
        count = int(np.prod(shape))
        return self._handle[: count * np.dtype(dtype).itemsize].view(dtype).reshape(shape)


class Stream(_Owned):
    """An ordered queue of work. `handle` is the driver's own, as other libraries take it.

    Every operation takes `lock`, as a capture does: what another thread enqueued meanwhile would become part of the
    capture instead of running, and waiting for the stream would spoil it.

    Attributes:
        lock: to be held while several operations are enqueued together.
    """

    def __init__(self, device: Device, handle: Any) -> None:
        super().__init__(device, handle)
        self.lock = threading.RLock()

    @property
    def handle(self) -> int:
        """A `CUstream` as an integer."""
        return int(self._handle.handle)

    def synchronize(self) -> None:
        """Wait until everything enqueued so far is done; other Python threads run, and enqueue, meanwhile."""
        reached = self.device.event()
        reached.record(self)
        reached.synchronize()
        reached.close()

    def wait(self, event: Event) -> None:
        """Let what is enqueued from now on wait for an event, without making the host wait."""
        with self._enqueuing():
            self._handle.wait_for_event(event._handle)

    def copy_box(self, source: Region, target: Region, extent: tuple[int, int, int]) -> None:
        """Copy a box of `extent` planes, rows of each and bytes of each row from one array on the device to another."""
        with self._enqueuing():
            copy = self.device._cuda.Memcpy3D()
            copy.set_src_device(source.address)
            copy.src_pitch, copy.src_height = source.pitch, source.rows
            copy.set_dst_device(target.address)
            copy.dst_pitch, copy.dst_height = target.pitch, target.rows
            copy.depth, copy.height, copy.width_in_bytes = extent
            copy(self._handle)

    def copy(self, source: int, target: int, size: int) -> None:
        """Copy `size` bytes from one place on the device to another."""
        with self._enqueuing():
            self.device._cuda.memcpy_dtod_async(target, source, size, self._handle)

    def upload(self, pointer: int, source: np.ndarray) -> None:
        """Copy a contiguous array to device memory; a pinned one must stay unchanged until the stream has come here."""
        with self._enqueuing():
            self.device._cuda.memcpy_htod_async(pointer, source, self._handle)

    def download(self, target: np.ndarray, pointer: int) -> None:
        """Copy device memory into a contiguous array, which is complete when the stream has come here."""
        with self._enqueuing():
            self.device._cuda.memcpy_dtoh_async(target, pointer, self._handle)

    def fill(self, pointer: int, byte: int, size: int) -> None:
        """Set `size` bytes of device memory."""
        with self._enqueuing():
            self.device._cuda.memset_d8_async(pointer, byte, size, self._handle)

    def capture(self, work: Callable[[], None]) -> Graph:
        """Record what `work()` enqueues here as a graph, instead of running it.

        Everything must have run once before: a graph can allocate nothing and load nothing.

        Raises:
            DeviceFailure: something in it cannot be recorded. The stream can be used again.
        """
        graph, executable, cuda = ctypes.c_void_p(), ctypes.c_void_p(), bindings.libcuda()
        stream = ctypes.c_void_p(self.handle)
        with self._enqueuing(), capturing():
            bindings.check(cuda.cuStreamBeginCapture_v2(stream, _THREAD_LOCAL), "capture")
            try:
                work()
            finally:
                ended = cuda.cuStreamEndCapture(stream, ctypes.byref(graph))
            bindings.check(ended, "capture")
            made = cuda.cuGraphInstantiateWithFlags(ctypes.byref(executable), graph, ctypes.c_ulonglong(0))
            cuda.cuGraphDestroy(graph)
            bindings.check(made, "instantiation of a graph")
            return Graph(self.device, executable)

    @contextmanager
    def _enqueuing(self) -> Iterator[None]:
        with self.lock, self.device.current():
            yield


class Graph(_Owned):
    """Recorded work, launched as a whole; see `Stream.capture`."""

    def launch(self, stream: Stream) -> None:
        """Enqueue it."""
        with stream._enqueuing():
            bindings.check(
                bindings.libcuda().cuGraphLaunch(self._handle, ctypes.c_void_p(stream.handle)), "launch of a graph"
            )

    def _release(self, handle: Any) -> None:
        bindings.libcuda().cuGraphExecDestroy(handle)


class Event(_Owned):
    """A place in a stream that can be waited for."""

    def record(self, stream: Stream) -> None:
        """Put it behind everything enqueued on `stream` so far."""
        with stream._enqueuing():
            self._handle.record(stream._handle)

    def synchronize(self) -> None:
        """Wait until the stream has come here. Other Python threads run meanwhile."""
        with self.device.current():
            self._handle.synchronize()

    def seconds_since(self, earlier: Event) -> float:
        """Time on the device between two events that have been waited for, both made with `timing`."""
        with self.device.current():
            return float(self._handle.time_since(earlier._handle)) / 1000


class Module(_Owned):
    """The kernels of one image."""

    def function(self, name: str) -> Function:
        """A kernel by name.

        Raises:
            KernelsUnavailable: the image does not have it.
        """
        with self.device.current():
            try:
                return Function(self, self._handle.get_function(name))
            except self.device._cuda.Error as error:
                raise KernelsUnavailable(
                    f"the compiled kernels lack {name} ({error}): they are of another version. Install fastlic again."
                ) from None


class Function:
    """A kernel. It keeps its module loaded."""

    def __init__(self, module: Module, handle: Any) -> None:
        self._module, self._handle = module, handle

    def launch(self, plan: Launch, arguments: Sequence[Addressed | int], stream: Stream) -> None:
        """Enqueue one launch by `plan`; arguments in the order of the plugin ABI: memory, int32 scalars, memory."""
        values = [argument if isinstance(argument, int) else argument.pointer for argument in arguments]
        kinds = "".join("i" if isinstance(argument, int) else "P" for argument in arguments)
        with stream._enqueuing():
            # What pycuda's own calls end in; before it they set a block shape, as drivers before 4.0 needed.
            self._handle._launch_kernel(plan.grid, (plan.threads, 1, 1), struct.pack(kinds, *values), 0, stream._handle)
