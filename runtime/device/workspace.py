"""Everything that decoding one picture takes on the device, for pictures of one grid: made once, used again.

Knows which tile goes where in the whole tensors; what tiles and synthesis are made of, `tile` and `picture` know.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fastlic.errors import BundleError
from fastlic.kernels.cuda.arrays import ArraySpec, DeviceArray
from fastlic.runtime.deadline import Deadline
from fastlic.runtime.device.memory import Arena
from fastlic.runtime.device.picture import DevicePicture, copy_part
from fastlic.runtime.device.student import DeviceStudent
from fastlic.runtime.device.tile import DeviceTile
from fastlic.runtime.entropy.reader import StreamReader
from fastlic.runtime.manifest import IMAGE
from fastlic.runtime.schedule import Timings, stage
from fastlic.runtime.tiles import Box, TileGrid


class Workspace:
    """One picture at a time. Parts are made when they are first needed.

    Args:
        student: on the device.
        grid: of the pictures.
        rows: whether kernels prepare passes.

    Attributes:
        key: what pictures it is for.
    """

    def __init__(self, student: DeviceStudent, grid: TileGrid, rows: bool) -> None:
        self.key = workspace_key(grid, rows)
        self._student, self._grid, self._rows = student, grid, rows
        self._stream = student.engine.open_stream()
        self._arena = Arena(student.engine.device)
        self._tiles: dict[tuple[int, int], DeviceTile] = {}
        self._whole: dict[str, DeviceArray] = {}
        self._picture: DevicePicture | None = None
        self._image = self._arena.pinned(np.uint8, grid.padded.height, grid.padded.width, 3)

    def decode_tile(
        self,
        box: Box,
        reader: StreamReader,
        active: Mapping[str, np.ndarray],
        given: Mapping[str, np.ndarray],
        where: str,
        deadline: Deadline,
        timings: Timings | None,
    ) -> DeviceTile:
        """Read a tile and enqueue what brings it into the whole tensors; see `DeviceTile.decode`."""
        size = (box.width, box.height)
        if size not in self._tiles:
            self._tiles[size] = DeviceTile(
                self._student, *size, rows=self._rows, stream=self._stream, arena=self._arena
            )
        tile = self._tiles[size]
        tile.decode(reader, active, given, where, deadline, timings)
        for name in self._student.given:  # the same in every tile
            self._whole.setdefault(name, tile.tensors[name])
        for name, stride in self._student.synthesis_strides.items():
            self._place(name, tile.tensors[name], box.scaled(stride), self._grid.padded.scaled(stride))
        return tile

    def enqueue_synthesis(self, timings: Timings | None) -> None:
        """Enqueue the synthesis of a picture all of whose tiles have been decoded."""
        if self._picture is None:
            self._picture = DevicePicture(
                self._student, self._grid.padded, self._whole, stream=self._stream, arena=self._arena
            )
        self._picture.enqueue(timings)

    def download(self, out: np.ndarray, timings: Timings | None) -> None:
        """Wait for the synthesis and copy the picture, uint8 (height, width, 3), into `out`."""
        picture = self._synthesised()
        with stage(timings, "copy"):
            picture.image.download(self._image.host, self._stream)
            self._stream.synchronize()
            out[...] = self._image.host[: out.shape[0], : out.shape[1]]

    def copied_image(self) -> DeviceArray:
        """Wait for the synthesis; the picture as a device array of its own, uint8 (height, width, 3)."""
        picture = self._synthesised()
        crop = Box(0, 0, self._grid.width, self._grid.height)
        spec = ArraySpec(np.dtype(np.uint8), (crop.height, crop.width, 3))
        result = DeviceArray.empty(self._student.engine.device, spec)
        copy_part(self._stream, IMAGE, picture.image, crop, result, crop)
        self._stream.synchronize()
        return result

    def synchronize(self) -> None:
        """Wait for everything."""
        self._stream.synchronize()

    def close(self) -> None:
        """Give everything back."""
        self._arena.close()

    def _synthesised(self) -> DevicePicture:
        assert self._picture is not None, "enqueue_synthesis comes first"
        self._picture.wait()
        return self._picture

    def _place(self, name: str, tensor: DeviceArray, place: Box, area: Box) -> None:
        """Bring a tile's tensor into the whole one; the only tile of a picture is the whole."""
        if tensor.shape[-2:] != (place.height, place.width):
            raise BundleError(
                f"tensor {name}: a graph gave {tensor.spec}, (..., {place.height}, {place.width}) is expected. "
                "Export the bundle again."
            )
        if self._grid.count == 1:
            self._whole[name] = tensor
            return
        if name not in self._whole:
            self._whole[name] = self._arena.array(tensor.dtype, *tensor.shape[:-2], area.height, area.width)
        with self._stream.lock:
            here = Box(0, 0, place.width, place.height)
            copy_part(self._stream, name, tensor, here, self._whole[name], place)


def workspace_key(grid: TileGrid, rows: bool) -> tuple[int, ...]:
    """What two pictures must have in common to use one workspace in turn."""
    return (*grid.padded, grid.tile_width, grid.tile_height, int(rows))
