"""One file on its way to a picture, in two halves: its symbols, then its pixels.

Knows which tiles and which parts of tensors a region needs, and runs a student's steps over them; knows nothing of
where students and engines come from. The halves may run in different threads, one after the other.
Rule: docs/format.md, sections 1 to 3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fastlic.errors import SymbolMismatch
from fastlic.runtime import bitstream
from fastlic.runtime.deadline import Deadline
from fastlic.runtime.entropy.passes import Pass
from fastlic.runtime.entropy.reader import Backend, open_reader
from fastlic.runtime.limits import Limits
from fastlic.runtime.manifest import IMAGE, Code
from fastlic.runtime.schedule import Timings, check_tensor, code_tile, run_in_windows, stage, symbol_crc
from fastlic.runtime.student import Student
from fastlic.runtime.tiles import Box

Data = bytes | bytearray | memoryview
Region = Sequence[int]
"""(left, top, right, bottom) in pixels, right and bottom excluded."""


class Decoding:
    """One file, parsed; nothing is decoded yet.

    Args:
        data: a complete `.lic` file.
        header: what `bitstream.probe` read of it.
        student: that wrote it.
        limits: on what may be allocated.
        region: the part of the picture wanted; None: all of it.
        deadline: asked before every step.
        timings: seconds per stage are added here.

    Attributes:
        grid: of the picture's tiles.
        shape: (height, width, 3) of the result.
        latents: the tensors that the synthesis needs, once `read_symbols` has run. Each covers the part of the padded
            picture that the region needs: all of it for a whole picture.

    Raises:
        TruncatedStream, CorruptedStream: as their names say.
        LimitExceeded: more than `limits` allow.
        ValueError: the region is not inside the picture.
    """

    def __init__(
        self,
        data: Data,
        header: bitstream.Header,
        student: Student,
        *,
        limits: Limits,
        region: Region | None = None,
        deadline: Deadline | None = None,
        timings: Timings | None = None,
    ) -> None:
        self._student, self._deadline, self._timings = student, deadline or Deadline(), timings
        self.latents: dict[str, np.ndarray] = {}
        with stage(timings, "parse"):
            self.grid = grid = header.grid(student.manifest.multiple)
            box = _checked_region(region, Box(0, 0, header.width, header.height))
            self.shape = (box.height, box.width, 3)
            wanted = box.aligned(grid.multiple)
            self._given = student.given(header.rate)
            limits.check("max_pixels", wanted.width * wanted.height, "the picture's pixels")
            tile_pixels = min(grid.tile_width, grid.padded.width) * min(grid.tile_height, grid.padded.height)
            limits.check("max_tile_pixels", tile_pixels, "a tile's pixels")
            bitstream.read_metadata(data, header, limits)
            tiles = bitstream.read_tiles(data, header, grid, student.mapped, limits)
            self._areas = student.areas(box, grid.padded)
            self._tiles = [
                (number, box, tile)
                for number, (box, tile) in enumerate(zip(grid, tiles, strict=True))
                if any(not box.common(self._areas[name]).empty for name in student.synthesis_strides)
            ]

    def read_symbols(self, backend: Backend, threads: int) -> None:
        """Decode the tiles that the region touches, each checked against its checksum.

        Args:
            backend: which reader of streams.
            threads: of the reader.

        Raises:
            CorruptedStream: the streams are not what any writer wrote.
            SymbolMismatch: a tile's latents do not have their checksum.
            BundleError: a graph does not do what the manifest says.
            TimedOut, Cancelled: by the deadline.
        """
        for number, box, tile in self._tiles:
            self._place(box, self._tile(number, box, tile, backend, threads))

    def synthesise(self, out: np.ndarray | None = None) -> np.ndarray:
        """Make the pixels of the region from the latents.

        Args:
            out: uint8 of `shape`, of any strides, to write into; None allocates.

        Raises:
            BundleError, TimedOut, Cancelled: as `read_symbols`.
        """
        student = self._student
        picture = np.empty(self.shape, np.uint8) if out is None else out
        tensors = {**self.latents, **self._given, IMAGE: picture}
        graphs = self._deadline.guard(student.graphs)
        for step in student.picture_steps:
            run_in_windows(student.manifest, step, self.grid.padded, tensors, graphs, self._timings, areas=self._areas)
        return picture

    def _tile(
        self, number: int, box: Box, tile: bitstream.TileData, backend: Backend, threads: int
    ) -> dict[str, np.ndarray]:
        student = self._student
        reader = open_reader(tile.streams, backend=backend, threads=threads)

        def read(step: Code, pass_: Pass, _: Mapping[str, np.ndarray]) -> np.ndarray:
            self._deadline.check(f"tile[{number}], code {step.latent} {step.parity}")
            return reader.code(pass_)

        tensors = code_tile(
            student.manifest,
            student.tile_steps,
            box,
            self._deadline.guard(student.graphs),
            student.distributions,
            active_channels(student, tile),
            read,
            self._timings,
            self._given,
        )
        reader.finish()
        check_symbols(student, number, tile, tensors)
        return tensors

    def _place(self, tile: Box, tensors: dict[str, np.ndarray]) -> None:
        """Copy what a tile has of each needed tensor to its place in `latents`."""
        for name, stride in self._student.synthesis_strides.items():
            area, part = self._areas[name], tile.scaled(stride)
            if name not in self.latents:
                shape = (*tensors[name].shape[:-2], area.height // stride, area.width // stride)
                self.latents[name] = np.empty(shape, tensors[name].dtype)
            whole = self.latents[name]
            check_tensor(name, tensors[name], whole.dtype, (*whole.shape[:-2], part.height, part.width))
            shared = tile.common(area)
            to_rows, to_columns = shared.within(area).scaled(stride).slices
            from_rows, from_columns = shared.within(tile).scaled(stride).slices
            whole[..., to_rows, to_columns] = tensors[name][..., from_rows, from_columns]


def active_channels(student: Student, tile: bitstream.TileData) -> dict[str, np.ndarray]:
    """Latent -> bool (C,), which channels of a tile are coded, for the latents with a channel map."""
    return {
        name: np.unpackbits(np.frombuffer(bits, np.uint8), bitorder="little")[: student.mapped[name]].astype(bool)
        for name, bits in tile.channel_maps.items()
    }


def check_symbols(student: Student, number: int, tile: bitstream.TileData, latents: Mapping[str, np.ndarray]) -> None:
    """Raise `SymbolMismatch` unless a tile's latents, int16 (C, h, w), have the checksum in the file."""
    if symbol_crc(student.manifest.coded, latents) != tile.symbol_crc:
        raise SymbolMismatch(
            f"tile[{number}]: the decoded latents do not have the checksum in the file. The file is damaged, or "
            "this machine does not compute the entropy networks exactly: run `fastlic verify`."
        )


def _checked_region(region: Region | None, picture: Box) -> Box:
    """The region as a box; the whole picture for None."""
    if region is None:
        return picture
    box = Box(*(int(edge) for edge in region)) if len(region) == 4 else None
    if box is None or tuple(box) != tuple(region) or box.empty or box.common(picture) != box:
        raise ValueError(
            f"region must be (left, top, right, bottom) in whole pixels inside the picture's {picture.width} columns "
            f"and {picture.height} rows, not {tuple(region)}"
        )
    return box
