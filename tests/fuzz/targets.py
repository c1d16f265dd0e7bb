"""What is fuzzed: the parser, beside the C library's, and the whole decode, with an oracle for what they accept.

The oracle shares no code with the decoder: container and symbols are read by tests/conformance/plain_decoder.py.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from c_library import CLibrary, layout
from conformance.plain_container import Tile, read_bundle, read_file
from conformance.plain_decoder import decode_tile
from fuzz.parsing import parse

from fastlic.errors import EngineUnavailable, FastlicError
from fastlic.kernels.c_api import build
from fastlic.runtime import engines
from fastlic.runtime.bundle import Bundle
from fastlic.runtime.codec import Decoder
from fastlic.runtime.student import Student
from fastlic.runtime.tiles import TileGrid

GOLDEN = Path(__file__).parents[1] / "conformance" / "golden"
BUNDLE = GOLDEN / "tiny.licb"
MAP_BYTES = 1  # of the tiny student's only channel map, 8 channels


def seeds() -> list[bytes]:
    """The golden files of the tiny student: what every mutation begins with."""
    return [path.read_bytes() for path in sorted(GOLDEN.glob("tiny-*.lic"))]


def tiny_student() -> Student:
    """The golden files' student, in the default engine."""
    return Student(Bundle(BUNDLE), engines.create("ort-cpu", threads=1))


class ParserTarget:
    """The Python parser, and the C library beside it: both must refuse the same inputs for the same cause.

    Args:
        library: path of `libfastlic`; None leaves it out.
    """

    def __init__(self, library: Path | None = None) -> None:
        self._bundle = Bundle(BUNDLE)
        manifest = self._bundle.manifest
        self._known = layout(self._bundle.fingerprint, manifest.multiple, 0, list(manifest.mapped.values()))
        self._library = None if library is None else CLibrary(library)

    def __call__(self, data: bytes) -> None:
        """Parse one input."""
        refused: FastlicError | None = None
        try:
            parse(data, self._bundle)
        except FastlicError as error:
            refused = error
        if self._library is not None:
            found, expected = self._library.refusal(data, self._known), None if refused is None else type(refused)
            if found is not expected:
                raise AssertionError(f"C library: {found}, Python: {expected}")
        if refused is not None:
            raise refused

    def verify(self, data: bytes, _: None) -> None:
        """What is accepted must be so by the document."""
        read_file(data, self._plain)

    @cached_property
    def _plain(self) -> dict[str, Any]:
        return read_bundle(BUNDLE.read_bytes())[0]

    @staticmethod
    def max_bytes(data: bytes) -> int:
        """What parsing may use: an object per stream, of which 4 bytes of the index make one."""
        return (1 << 17) + 128 * len(data)


class DecodeTarget:
    """`Decoder.decode`; what it accepts must be what the plain decoder reads, and the synthesis of that."""

    def __init__(self) -> None:
        self.student = tiny_student()
        self._decoder = Decoder(BUNDLE, engine="ort-cpu", threads=1)
        self._manifest, self._entries = read_bundle(BUNDLE.read_bytes())
        self._known: dict[bytes, np.ndarray] = {}  # digest of a tile -> its y, once the plain decoder has read it

    def __call__(self, data: bytes) -> np.ndarray:
        """Decode one input."""
        return self._decoder.decode(data)

    def verify(self, data: bytes, picture: np.ndarray) -> None:
        """Read the file again by the document; the plain decoder refuses wrong seals and checksums itself."""
        file = read_file(data, self._manifest)
        height, width = picture.shape[:2]
        units = [64 * int.from_bytes(data[at : at + 2], "little") for at in (10, 12)]
        grid = TileGrid(width, height, 64, *units)
        area = grid.padded.scaled(16)
        y = np.zeros((8, area.height, area.width), np.int16)
        for box, tile in zip(grid, file.tiles, strict=True):
            rows, columns = box.scaled(16).slices
            y[:, rows, columns] = self._plain_y(tile)
        (whole,) = self.student.graphs["synthesis"]([y])
        if (width, height) != (file.width, file.height) or np.abs(
            whole[:height, :width].astype(int) - picture
        ).max() > 1:
            raise AssertionError("another picture than that of the plain decoder's symbols")

    def _plain_y(self, tile: Tile) -> np.ndarray:
        key = hashlib.sha256(repr(tile).encode()).digest()
        if key not in self._known:
            graphs = self.student.graphs
            latents = decode_tile(tile, 0, self._manifest, self._entries, lambda name, inputs: graphs[name](inputs))
            self._known[key] = latents["y"]
        return self._known[key]

    @staticmethod
    def max_bytes(data: bytes) -> int:
        """What decoding may use: the engine's pages, and per pixel that the header claims within the limits."""
        width, height = (-(-int.from_bytes(data[at : at + 4], "little") // 64) * 64 for at in (28, 32))
        return (1 << 26) + 256 * min(width * height, 1 << 22)


def compiled_library(folder: Path) -> Path | None:
    """`libfastlic`, built into `folder`; None where there is no C++ compiler."""
    try:
        return build.build(folder)
    except EngineUnavailable:
        return None
