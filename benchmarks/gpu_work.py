"""What `gpu_kernels` times: every kernel of `kernels/cuda` with arguments of a student's sizes, and its least work.

Knows shapes, arguments and what each launch must compute and move; knows nothing of time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from fastlic.kernels.cuda.addresses import Addressed
    from fastlic.kernels.cuda.driver import Stream
    from fastlic.kernels.cuda.launch import Launch
    from fastlic.kernels.cuda.library import KernelLibrary
    from fastlic.runtime.device.memory import Arena
    from fastlic.runtime.entropy.tables import MixtureTables

DEFORM = "deform_conv2d"
LATENT = (128, 32, 24)
"""Channels, rows and packed columns of one pass of a picture of 768x512."""
_HALF, _FLOAT = 2, 4  # bytes
_TAPS = 9
_NO_SLOPE = int(np.float32(1).view(np.int32))

Map = tuple[int, int, int]
"""Height, width and channels."""


@dataclass(frozen=True)
class Work:
    """A launch with its arguments, and what it must compute and move at least.

    `bus`: bytes that go to or come from the host's memory, which `moved` does not count.
    """

    kernel: str
    shape: str
    plan: Launch
    arguments: Sequence[Addressed | int]
    flops: float
    moved: float
    bus: float = 0.0


class Workbench:
    """Makes the arguments of launches, all in one arena.

    Args:
        library: of kernels.
        stream: that uploads and launches are on.
        arena: for all memory.
    """

    def __init__(self, library: KernelLibrary, stream: Stream, arena: Arena) -> None:
        self._library, self._stream, self._arena = library, stream, arena
        self._rng = np.random.default_rng(0)

    def of_maps(self, maps: Sequence[Map]) -> Iterator[Work]:
        """The kernels of the synthesis."""
        for height, width, channels in maps:
            yield self._deform(height, width, channels, "f16")
            yield self._deform(height, width, channels, "f32")
            yield self._gdn(height * width, channels)
            yield self._transpose(channels, height * width)

    def of_pass(self, tables: MixtureTables, latent: tuple[int, int, int] = LATENT) -> Iterator[Work]:
        """The kernels of one mixture pass, each with what those before it have left; and the context's.

        Rows are written to the device's own memory, then, as a decode does, over the bus to the host's.
        """
        from fastlic.kernels.cuda import launch

        plan = launch.mixture_pass(*latent, families=len(tables.families), components=tables.components)
        size, shape, arena = int(np.prod(latent)), f"{'x'.join(map(str, latent))}", self._arena
        parameters = arena.uploaded(self._parameters(tables, size))
        arrays = [getattr(tables, name) for name in ("exponential", "thresholds", "inverse_scale", "tail", "half_cdf")]
        on_device = [arena.uploaded(np.asarray(array)) for array in arrays]
        active = arena.uploaded(np.ones(latent[0], np.uint8))
        kinds, modes, elements = (arena.array(kind, size) for kind in (np.uint8, np.int16, np.int32))
        counts, offsets = (arena.array(np.int32, 7, plan.blocks) for _ in range(2))
        starts = arena.array(np.int32, 8)
        read, small = parameters.spec.nbytes, 2 * counts.spec.nbytes
        inputs: list[Addressed | int] = [parameters, active, *on_device, *latent, tables.skip_threshold]
        yield self._ran(
            Work("mixture_classify", shape, plan.classify, [*inputs, kinds, modes, counts], 0, read + 3 * size)
        )
        yield self._ran(Work("scan_counts", shape, plan.scan, [counts, plan.blocks, offsets, starts], 0, small))
        from fastlic.runtime.entropy.tables import WINDOWS

        found = starts.numpy()
        coded, entries = int(found[-1]), int(np.diff(found) @ np.array(WINDOWS))
        for kind, rows in (("", arena.array(np.uint16, entries)), (" to the host", arena.pinned(np.uint16, entries))):
            placed: list[Addressed | int] = [parameters, *on_device, kinds, offsets, starts, *latent, entries]
            written = _HALF * entries
            moved = read + size + _FLOAT * coded + (0 if kind else written)
            work = Work(f"mixture_rows{kind}", shape, plan.rows, [*placed, elements, rows], 0, moved)
            yield self._ran(work if not kind else Work(**{**work.__dict__, "bus": float(written)}))
        symbols = arena.pinned(np.int16, max(coded, 1))
        symbols.host[...] = 0
        channels, height, width = latent
        y = arena.array(np.int16, channels, height, 2 * width)
        numbers: list[Addressed | int] = [kinds, modes, elements, starts, symbols, *latent, 1, 0, y]
        moved = size + _HALF * (size - coded) + _FLOAT * coded + _HALF * size
        yield self._ran(Work("scatter_symbols", shape, plan.scatter, numbers, 0, moved, _HALF * coded))
        taps = arena.array(np.int16, height, width, 12, channels)
        gather = launch.context_gather(*latent)
        yield self._ran(
            Work("context_gather", shape, gather, [y, *latent, 2, taps], 0, y.spec.nbytes + taps.spec.nbytes)
        )

    def _deform(self, height: int, width: int, channels: int, precision: Literal["f16", "f32"]) -> Work:
        from fastlic.kernels.cuda import launch

        pixels, size = height * width, _HALF if precision == "f16" else _FLOAT
        plan = launch.deform_conv2d(
            1, height, width, channels, channels, precision=precision, multiprocessors=self._multiprocessors()
        )
        dtype = np.float16 if precision == "f16" else np.float32
        x, weight, offsets, bias = (
            self._normal(dtype, count)
            for count in (pixels * channels, _TAPS * channels**2, pixels * 2 * _TAPS, channels)
        )
        y = self._arena.array(dtype, pixels * channels)
        numbers = [height, width, channels, channels, 2 * _TAPS, 0, _NO_SLOPE]
        moved = size * (2 * pixels * channels + 2 * _TAPS * pixels + _TAPS * channels**2)
        name = DEFORM if precision == "f16" else f"{DEFORM}_f32"
        flops = 2.0 * _TAPS * channels**2 * pixels
        return self._ran(
            Work(
                name,
                deform_shape(height, width, channels),
                plan,
                [x, offsets, x, weight, bias, *numbers, y],
                flops,
                moved,
            )
        )

    def _gdn(self, pixels: int, channels: int) -> Work:
        from fastlic.kernels.cuda import launch

        x, residual = (self._normal(np.float16, pixels * channels) for _ in range(2))
        gamma = self._arena.uploaded(np.abs(self._rng.normal(size=channels**2)).astype(np.float16))
        beta, y = self._arena.uploaded(np.ones(channels, np.float32)), self._arena.array(np.float16, pixels * channels)
        moved = _HALF * (3 * pixels * channels + channels**2)
        arguments: list[Addressed | int] = [x, gamma, beta, residual, pixels, channels, 1, 1, y]
        flops = 2.0 * channels**2 * pixels
        return self._ran(
            Work("gdn", f"{channels}, {pixels} pixels", launch.gdn(pixels, channels), arguments, flops, moved)
        )

    def _transpose(self, rows: int, columns: int) -> Work:
        from fastlic.kernels.cuda import launch

        x, y = self._normal(np.float16, rows * columns), self._arena.array(np.float16, rows * columns)
        plan = launch.transpose(1, rows, columns, bits=16)
        return self._ran(
            Work("transpose_16", f"{rows}x{columns}", plan, [x, rows, columns, y], 0, 2.0 * _HALF * rows * columns)
        )

    def _ran(self, work: Work) -> Work:
        """The same, launched once."""
        self._library.launch(work.plan, work.arguments, self._stream)
        self._stream.synchronize()
        return work

    def _multiprocessors(self) -> int:
        return self._library.device.multiprocessors

    def _normal(self, dtype: type[np.floating], count: int) -> Addressed:
        return self._arena.uploaded(self._rng.normal(size=count).astype(dtype))

    def _parameters(self, tables: MixtureTables, size: int) -> np.ndarray:
        """Int16 (size, P): statistics about as a student's, of which a fifth or so is skipped."""
        families, count = len(tables.families), len(tables.families) * tables.components
        middle = np.median(tables.thresholds)
        parts = [
            self._rng.normal(0, 40, (size, count)),
            self._rng.normal(0, 40, (size, count)),
            self._rng.normal(middle - 20, 40, (size, 1)) + self._rng.normal(0, 10, (size, count)),
            self._rng.normal(0, 30, (size, families if families > 1 else 0)),
        ]
        return np.round(np.concatenate(parts, axis=-1)).clip(-32768, 32767).astype(np.int16)


def deform_shape(height: int, width: int, channels: int) -> str:
    """How tables call a map."""
    return f"{channels} to {channels} 3x3, {width}x{height}"
