"""The C library seen from Python through ctypes, for tests that hold it against the Python parser and reader.

The structures are those of kernels/include/fastlic/c_api.h; fields have the same names and order.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from fastlic import errors
from fastlic.runtime.entropy.tables import MixtureTables, RowTables

U8, U32, U64, SIZE = ctypes.c_uint8, ctypes.c_uint32, ctypes.c_uint64, ctypes.c_size_t
POINTER = ctypes.c_void_p

# fastlic_status -> the class of the same cause.
CAUSES: dict[int, type[Exception]] = {
    1: errors.NotALicFile,
    2: errors.UnsupportedVersion,
    3: errors.TruncatedStream,
    4: errors.CorruptedStream,
    5: errors.FingerprintMismatch,
    6: errors.SymbolMismatch,
    7: errors.LimitExceeded,
    8: errors.BundleError,
    9: ValueError,
    10: MemoryError,
    11: RuntimeError,
}


def structure(**fields: Any) -> type[ctypes.Structure]:
    """A C structure of these fields."""
    return type("Structure", (ctypes.Structure,), {"_fields_": list(fields.items())})


Error = structure(message=ctypes.c_char * 256)
Header = structure(
    **dict.fromkeys(("width", "height", "tile_width", "tile_height", "rate", "student_hash"), U32),
    **dict.fromkeys(("metadata_length", "index_length"), U32),
    fingerprint=U8 * 8,
)
Layout = structure(fingerprint=U8 * 8, multiple=U32, rates=U32, map_channels=POINTER, map_count=SIZE)
LimitsOfC = structure(max_pixels=U64, max_tile_pixels=U64, max_tiles=U32, max_metadata_bytes=U32)
TileOfC = structure(**dict.fromkeys(("left", "top", "right", "bottom", "stream_count", "symbol_crc"), U32))
Rows = structure(cdf=POINTER, cdf_count=SIZE, window=POINTER, window_count=SIZE, low=POINTER, low_count=SIZE)
MIXTURE_ARRAYS = ("exponential", "thresholds", "inverse_scale", "tail", "half_cdf")
Mixture = structure(
    **dict.fromkeys(("families", "components", "skip_threshold"), U32),
    **{field: kind for name in MIXTURE_ARRAYS for field, kind in ((name, POINTER), (f"{name}_count", SIZE))},
)
PassOfC = structure(
    **dict.fromkeys(("channels", "height", "width"), U32),
    active=POINTER,
    active_count=SIZE,
    parameters=POINTER,
    parameters_count=SIZE,
)
Latent = structure(values=POINTER, values_count=SIZE, **dict.fromkeys(("channels", "height", "width"), U32))


def layout(fingerprint: bytes, multiple: int, rates: int, maps: Sequence[int]) -> ctypes.Structure:
    """A `fastlic_layout`, which keeps its array alive."""
    channels = (U32 * max(1, len(maps)))(*maps)
    made = Layout((U8 * 8)(*fingerprint), multiple, rates, ctypes.addressof(channels), len(maps))
    made.keep = channels
    return made


class CLibrary:
    """The functions of `libfastlic`; a status other than FASTLIC_OK raises the error of the same cause."""

    def __init__(self, path: Path) -> None:
        self.functions = ctypes.CDLL(str(path))
        for name in ("fastlic_file_close", "fastlic_distribution_close", "fastlic_reader_close"):
            function = getattr(self.functions, name)
            function.argtypes, function.restype = [POINTER], None

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function that returns a status and takes an error last."""
        error = Error()
        status = getattr(self.functions, f"fastlic_{name}")(*arguments, ctypes.byref(error))
        if status:
            raise CAUSES[status](error.message.decode())

    def opened(self, name: str, *arguments: Any) -> POINTER:
        """Call a function that writes a handle."""
        handle = POINTER()
        self.call(name, *arguments, ctypes.byref(handle))
        return handle

    @contextmanager
    def file(self, data: bytes, known: ctypes.Structure, limits: ctypes.Structure | None = None) -> Iterator[POINTER]:
        """An open `fastlic_file`; a fresh copy of `data`, so that a sanitizer sees its end."""
        copy = (U8 * len(data)).from_buffer_copy(data) if data else None
        bounds = None if limits is None else ctypes.byref(limits)
        handle = self.opened("file_open", copy, SIZE(len(data)), ctypes.byref(known), bounds)
        try:
            yield handle
        finally:
            self.functions.fastlic_file_close(handle)

    def refusal(self, data: bytes, known: ctypes.Structure) -> type[Exception] | None:
        """The class of error that opening raises, or None."""
        try:
            with self.file(data, known):
                return None
        except Exception as error:
            return type(error)

    def tile(self, file: POINTER, number: int) -> ctypes.Structure:
        """A `fastlic_tile`."""
        found = TileOfC()
        self.call("file_tile", file, U32(number), ctypes.byref(found))
        return found

    def bytes_of(self, name: str, *arguments: Any) -> bytes:
        """Call a function that points into the caller's data."""
        start, size = POINTER(), SIZE()
        self.call(name, *arguments, ctypes.byref(start), ctypes.byref(size))
        return ctypes.string_at(start, size.value) if size.value else b""

    def active(self, file: POINTER, tile: int, number: int, channels: int) -> np.ndarray:
        """A channel map as bool (channels)."""
        bits = np.full(channels, 7, np.uint8)
        self.call("file_channel_map", file, U32(tile), SIZE(number), POINTER(bits.ctypes.data), SIZE(channels))
        return bits.astype(bool)

    def rows(self, cdf: np.ndarray, window: np.ndarray, low: np.ndarray) -> POINTER:
        """A `fastlic_distribution` of rows."""
        arrays = [part for array in (cdf, window, low) for part in (array.ctypes.data, array.size)]
        return self.opened("rows_create", ctypes.byref(Rows(*arrays)))

    def mixture(self, families: int, components: int, skip_threshold: int, *tables: np.ndarray) -> POINTER:
        """A `fastlic_distribution` of a mixture; tables in the order of `MIXTURE_ARRAYS`."""
        arrays = [part for table in tables for part in (table.ctypes.data, table.size)]
        made = Mixture(families, components, skip_threshold, *arrays)
        return self.opened("mixture_create", ctypes.byref(made))

    def distribution(self, tables: MixtureTables | RowTables) -> POINTER:
        """The same distribution as a handle of C."""
        if isinstance(tables, RowTables):
            return self.rows(tables.cdf, tables.window, tables.low)
        arrays = (getattr(tables, name) for name in MIXTURE_ARRAYS)
        return self.mixture(len(tables.families), tables.components, tables.skip_threshold, *arrays)
