"""A CUDA driver on the host: what `kernels/cuda/driver.py` calls of pycuda and of libcuda.

`EmulatedCuda.driver` stands in for the module `pycuda.driver`, `EmulatedCuda.library` for libcuda. Memory is host
memory; kernels run in the emulator. Work on a stream is queued and only runs when somebody waits for it, so that
whoever reads or frees too early finds 0xCD. Calls without a current context, calls that a driver refuses during a
capture and pointers into nothing are errors; memory in use can be counted.
"""

from __future__ import annotations

import ctypes
import itertools
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
from emulation.emulator import Changed, EmulationError, Emulator

from fastlic.kernels.cuda import bindings, driver, fatbins, launch

CUDA = Path(launch.__file__).parent
ALIGNMENT = 256
FRESH = 0xCD
Work = Callable[[], None]


class Error(Exception):
    """Pycuda's base class."""


class LogicError(Error):
    """Invalid use."""


class CudaRuntimeError(Error):
    """What pycuda calls RuntimeError: no device, no binary for it."""


class LaunchError(Error):
    """A kernel failed."""


class CudaMemoryError(Error, MemoryError):
    """What pycuda calls MemoryError."""


class EmulatedCuda:
    """One driver with one device.

    Args:
        capability: of the device.
        version: of the driver, as it counts.
        devices: how many there are.
        memory: bytes of the device.

    Attributes:
        fail_allocation: when 0, allocations fail from now on; counts down with each. None: never.
        fail_launch: the same for launches of kernels.
        live: address -> allocation, of device and of pinned memory.
        launches: names of kernels run so far.
        graphs_launched: number of captured graphs launched so far.
    """

    def __init__(
        self, capability: tuple[int, int] = (9, 0), version: int = 13000, devices: int = 1, memory: int = 1 << 30
    ) -> None:
        self.capability, self.version, self.devices, self.memory = capability, version, devices, memory
        self.fail_allocation: int | None = None
        self.fail_launch: int | None = None
        self.live: dict[int, np.ndarray] = {}
        self.launches: list[str] = []
        self.graphs_launched = 0
        self.streams: dict[int, Stream] = {}
        self.graphs: dict[int, list[Work]] = {}
        self._freed: list[np.ndarray] = []
        self._emulators: dict[str, Emulator] = {}
        self._numbers = itertools.count(1)
        self._contexts = threading.local()
        self._lock = threading.RLock()  # a device does one thing after the other
        self.driver = self._module()
        self.library = Library(self)

    @contextmanager
    def installed(self) -> Iterator[EmulatedCuda]:
        """Let `driver.py` find this driver and its kernels instead of pycuda's and the installed ones."""
        driver._opened.cache_clear()
        with (
            mock.patch.object(bindings, "pycuda", return_value=self.driver),
            mock.patch.object(bindings, "libcuda", return_value=self.library),
            mock.patch.object(fatbins, "load", lambda source: source.encode()),
            mock.patch.object(fatbins, "missing", list),
        ):
            yield self
        driver._opened.cache_clear()

    def allocated(self) -> int:
        """Bytes of device and pinned memory in use."""
        return sum(memory.size for memory in list(self.live.values()))

    def at(self, pointer: int, size: int | None = None) -> np.ndarray:
        """The memory from an address on, uint8, to the end of its allocation unless `size` is given."""
        for start, memory in list(self.live.items()):  # other threads allocate meanwhile
            if start <= pointer < start + memory.size:
                part = memory[pointer - start :]
                if size is not None and size > part.size:
                    raise LaunchError(f"{size} bytes at {pointer:#x} leave their allocation")
                return part[:size]
        raise LaunchError(f"an illegal memory access was encountered: {pointer:#x}")

    def allocate(self, size: int) -> np.ndarray:
        """New memory, registered in `live`."""
        self.require_context()
        self.refuse_in_capture("allocation")
        if _counted(self, "fail_allocation") or self.allocated() + size > self.memory:
            raise CudaMemoryError("cuMemAlloc failed: out of memory")
        whole = np.full(size + ALIGNMENT, FRESH, np.uint8)
        start = -whole.ctypes.data % ALIGNMENT
        memory = whole[start : start + size]
        self.live[memory.ctypes.data] = memory
        return memory

    def free(self, address: int) -> None:
        """Give memory back; who still uses it finds 0xCD."""
        self.require_context()
        self.refuse_in_capture("giving memory back")
        memory = self.live.pop(address)
        memory.fill(FRESH)
        self._freed.append(memory)  # kept, so that reading it is wrong but does not crash the tests

    def run(
        self, name: str, grid: tuple[int, int, int], block: tuple[int, int, int], values: list[int], kinds: str
    ) -> None:
        """Run one kernel now."""
        if _counted(self, "fail_launch"):
            raise LaunchError("cuStreamSynchronize failed: unspecified launch failure")
        arguments: list[Any] = [
            value if kind == "i" else Changed(self.at(value)) for value, kind in zip(values, kinds, strict=True)
        ]
        self.launches.append(name)
        try:
            self.emulator_of(name).launch(name, grid, block, arguments)
        except EmulationError as error:
            raise LaunchError(str(error)) from error

    def emulator_of(self, name: str) -> Emulator:
        """The emulator of the source that a kernel is in."""
        source = next(source for source, kernels in launch.KERNELS.items() if name in kernels)
        if source not in self._emulators:
            self._emulators[source] = Emulator(CUDA / f"{source}.cu", launch.KERNELS[source])
        return self._emulators[source]

    def enqueue(self, stream: int, work: Work) -> None:
        """Queue work on a stream by its handle, as another library does."""
        self.streams[stream].add(work)

    def push(self) -> None:
        self._stack().append(self)

    def pop(self) -> None:
        if not self._stack():
            raise LogicError("context::pop failed: invalid device context - cannot pop non-current context")
        self._stack().pop()

    def require_context(self) -> None:
        """What a driver says when no context is current."""
        if not self._stack():
            raise LogicError("invalid device context")

    def refuse_in_capture(self, what: str) -> None:
        """In a thread that captures, allocating, freeing and waiting spoil the capture."""
        for stream in self.streams.values():
            if stream.capturer == threading.get_ident():
                stream.spoilt = True
                raise LogicError(f"{what} failed: operation not permitted when stream is capturing")

    def number(self) -> int:
        """A fresh handle."""
        return next(self._numbers)

    def _stack(self) -> list[Any]:
        if not hasattr(self._contexts, "stack"):
            self._contexts.stack = []
        return self._contexts.stack

    def _module(self) -> Any:
        """What stands in for `pycuda.driver`."""

        class Context:
            push = staticmethod(self.push)
            pop = staticmethod(self.pop)

        class Device:
            count = staticmethod(lambda: self.devices)

            def __init__(self, index: int) -> None:
                pass

            name = staticmethod(lambda: "Emulated GPU")
            compute_capability = staticmethod(lambda: self.capability)
            total_memory = staticmethod(lambda: self.memory)
            get_attribute = staticmethod(lambda attribute: 4)
            retain_primary_context = staticmethod(Context)

        def init() -> None:
            if not self.devices:
                raise CudaRuntimeError("cuInit failed: no CUDA-capable device is detected")

        return SimpleNamespace(
            init=init,
            get_driver_version=lambda: self.version,
            Device=Device,
            Context=Context,
            device_attribute=SimpleNamespace(MULTIPROCESSOR_COUNT=16),
            host_alloc_flags=SimpleNamespace(PORTABLE=1, DEVICEMAP=2),
            mem_get_info=lambda: (self.memory - self.allocated(), self.memory),
            mem_alloc=lambda size: Allocation(self, self.allocate(size)),
            pagelocked_empty=lambda shape, dtype, mem_flags: pagelocked(self, shape),
            Stream=lambda flags: Stream(self),
            Event=lambda flags: Event(self),
            module_from_buffer=lambda image: Module(self, image),
            memcpy_htod_async=self._copy_in,
            memcpy_dtoh_async=self._copy_out,
            memcpy_dtod_async=self._copy,
            memset_d8_async=self._fill,
            Memcpy3D=lambda: Memcpy3D(self),
            Error=Error,
            LogicError=LogicError,
            RuntimeError=CudaRuntimeError,
            LaunchError=LaunchError,
            MemoryError=CudaMemoryError,
        )

    def _pinned(self, array: np.ndarray) -> bool:
        return any(start <= array.ctypes.data < start + memory.size for start, memory in list(self.live.items()))

    def _copy_in(self, pointer: int, source: np.ndarray, stream: Stream) -> None:
        self.require_context()
        source = np.ascontiguousarray(source).reshape(-1).view(np.uint8)
        if not self._pinned(source):  # a driver copies pageable memory before it returns
            self.refuse_in_capture("copy from pageable memory")
            source = source.copy()
        stream.add(lambda: np.copyto(self.at(pointer, source.size), source))

    def _copy_out(self, target: np.ndarray, pointer: int, stream: Stream) -> None:
        self.require_context()
        assert target.flags.c_contiguous
        flat = target.reshape(-1).view(np.uint8)
        pinned = self._pinned(flat)
        if not pinned:
            self.refuse_in_capture("copy to pageable memory")
        stream.add(lambda: np.copyto(flat, self.at(pointer, flat.size)))
        if not pinned:
            stream.drain()

    def _copy(self, target: int, source: int, size: int, stream: Stream) -> None:
        self.require_context()
        stream.add(lambda: np.copyto(self.at(target, size), self.at(source, size)))

    def _fill(self, pointer: int, byte: int, size: int, stream: Stream) -> None:
        self.require_context()
        stream.add(lambda: self.at(pointer, size).fill(byte))


class Allocation:
    """Pycuda's DeviceAllocation."""

    def __init__(self, cuda: EmulatedCuda, memory: np.ndarray) -> None:
        self._cuda, self._address = cuda, memory.ctypes.data

    def __int__(self) -> int:
        return self._address

    def free(self) -> None:
        self._cuda.free(self._address)

    get_device_pointer = __int__


def pagelocked(cuda: EmulatedCuda, size: int) -> Any:
    """What pycuda's pagelocked_empty returns: an array whose base is the allocation."""
    memory = cuda.allocate(size)
    pointer = Allocation(cuda, memory)
    pointer.__array_interface__ = memory.__array_interface__  # type: ignore[attr-defined]
    array = np.asarray(pointer)
    assert array.base is pointer
    return array


class Stream:
    """A queue that runs when it is waited for."""

    def __init__(self, cuda: EmulatedCuda) -> None:
        cuda.require_context()
        self.cuda, self.handle = cuda, cuda.number()
        self.queue: list[Work] = []
        self.captured: list[Work] | None = None
        self.capturer: int | None = None
        self.spoilt = False
        cuda.streams[self.handle] = self

    def add(self, work: Work) -> None:
        (self.queue if self.captured is None else self.captured).append(work)

    def synchronize(self) -> None:
        self.cuda.require_context()
        self.cuda.refuse_in_capture("synchronisation")
        if self.captured is not None:  # by another thread
            self.spoilt = True
            raise LogicError("cuStreamSynchronize failed: operation not permitted when stream is capturing")
        self.drain()

    def drain(self, until: Event | None = None) -> None:
        """Run what is queued, all of it or up to an event."""
        with self.cuda._lock:
            while self.queue and not (until is not None and until.reached):
                self.queue.pop(0)()

    def wait_for_event(self, event: Event) -> None:
        self.cuda.require_context()
        self.add(event.wait)


class Event:
    """A place in a queue."""

    def __init__(self, cuda: EmulatedCuda) -> None:
        cuda.require_context()
        self.cuda, self.stream, self.reached, self.order = cuda, None, True, 0

    def record(self, stream: Stream) -> None:
        self.cuda.require_context()
        self.stream, self.reached = stream, False
        stream.add(self._reach)

    def synchronize(self) -> None:
        self.cuda.require_context()
        self.cuda.refuse_in_capture("synchronisation")
        self.wait()

    def wait(self) -> None:
        if self.stream is not None:
            self.stream.drain(self)

    def time_since(self, earlier: Event) -> float:
        return float(self.order - earlier.order)

    def _reach(self) -> None:
        self.reached, self.order = True, self.cuda.number()


class Module:
    """Its image is the name of a source."""

    def __init__(self, cuda: EmulatedCuda, image: bytes) -> None:
        cuda.require_context()
        self.cuda, self.kernels = cuda, launch.KERNELS.get(image.decode(errors="replace"))
        if self.kernels is None:
            raise CudaRuntimeError(
                "cuModuleLoadDataEx failed: no kernel image is available for execution on the device"
            )

    def get_function(self, name: str) -> Function:
        if name not in self.kernels:
            raise LogicError("cuModuleGetFunction failed: named symbol not found")
        return Function(self.cuda, name)


class Function:
    """A kernel. Its arguments come packed; they are read back as the kernel declares them."""

    def __init__(self, cuda: EmulatedCuda, name: str) -> None:
        self.cuda, self.name = cuda, name

    def _launch_kernel(self, grid: Any, block: Any, arguments: bytes, shared: int, stream: Stream) -> None:
        self.cuda.require_context()
        kinds = self.cuda.emulator_of(self.name).kinds(self.name)
        values = list(struct.unpack(kinds, arguments))
        stream.add(lambda: self.cuda.run(self.name, grid, block, values, kinds))


class Memcpy3D:
    """Box to box on the device."""

    def __init__(self, cuda: EmulatedCuda) -> None:
        self._cuda = cuda
        self.src_pitch = self.src_height = self.dst_pitch = self.dst_height = 0
        self.depth = self.height = self.width_in_bytes = 0

    def set_src_device(self, pointer: int) -> None:
        self._source = pointer

    def set_dst_device(self, pointer: int) -> None:
        self._target = pointer

    def __call__(self, stream: Stream) -> None:
        self._cuda.require_context()
        if self.width_in_bytes > min(self.src_pitch, self.dst_pitch):
            raise LogicError("cuMemcpy3DAsync failed: invalid argument")
        stream.add(self._run)

    def _run(self) -> None:
        np.copyto(
            self._box(self._target, self.dst_pitch, self.dst_height),
            self._box(self._source, self.src_pitch, self.src_height),
        )

    def _box(self, pointer: int, pitch: int, height: int) -> np.ndarray:
        strides = (pitch * height, pitch, 1)
        shape = (self.depth, self.height, self.width_in_bytes)
        size = 1 + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
        return np.lib.stride_tricks.as_strided(self._cuda.at(pointer, size), shape, strides)


class Library:
    """The functions of libcuda for captured graphs; pointers come as ctypes passes them."""

    SUCCESS, INVALID_VALUE, INVALIDATED = 0, 1, 901

    def __init__(self, cuda: EmulatedCuda) -> None:
        self._cuda = cuda

    def cuStreamBeginCapture_v2(self, stream: ctypes.c_void_p, mode: int) -> int:  # noqa: N802
        queue = self._cuda.streams[stream.value or 0]
        if queue.captured is not None:
            return self.INVALID_VALUE
        queue.captured, queue.capturer, queue.spoilt = [], threading.get_ident(), False
        return self.SUCCESS

    def cuStreamEndCapture(self, stream: ctypes.c_void_p, graph: Any) -> int:  # noqa: N802
        queue = self._cuda.streams[stream.value or 0]
        work, queue.captured, queue.capturer = queue.captured, None, None
        if queue.spoilt or work is None:
            return self.INVALIDATED
        graph._obj.value = self._cuda.number()
        self._cuda.graphs[graph._obj.value] = work
        return self.SUCCESS

    def cuGraphInstantiateWithFlags(self, executable: Any, graph: ctypes.c_void_p, flags: Any) -> int:  # noqa: N802
        executable._obj.value = self._cuda.number()
        self._cuda.graphs[executable._obj.value] = self._cuda.graphs[graph.value or 0]
        return self.SUCCESS

    def cuGraphLaunch(self, executable: ctypes.c_void_p, stream: ctypes.c_void_p) -> int:  # noqa: N802
        self._cuda.graphs_launched += 1
        for work in self._cuda.graphs[executable.value or 0]:
            self._cuda.streams[stream.value or 0].add(work)
        return self.SUCCESS

    def cuGraphDestroy(self, graph: ctypes.c_void_p) -> int:  # noqa: N802
        return self.SUCCESS if self._cuda.graphs.pop(graph.value or 0, None) is not None else self.INVALID_VALUE

    cuGraphExecDestroy = cuGraphDestroy  # noqa: N815

    def cuGetErrorString(self, status: int, text: Any) -> int:  # noqa: N802
        text._obj.value = b"operation failed due to a previous error during capture"
        return self.SUCCESS


def _counted(cuda: EmulatedCuda, name: str) -> bool:
    """Whether an injected failure is due."""
    left = getattr(cuda, name)
    if left is None:
        return False
    setattr(cuda, name, max(0, left - 1))
    return left == 0
