"""`Decoder` and `Encoder`: a bundle, an engine and the range coder put together.

Knows the order of work for one picture; the parts know how.
Rule: docs/format.md, sections 1 to 3.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Self

import numpy as np

from fastlic.errors import FingerprintMismatch, PictureError, SymbolMismatch
from fastlic.kernels import native
from fastlic.runtime import bitstream, engines
from fastlic.runtime import bundle as bundles
from fastlic.runtime.bundle import Bundle
from fastlic.runtime.engines import Engine, EngineInfo
from fastlic.runtime.entropy.passes import Pass
from fastlic.runtime.entropy.reader import Backend, open_reader
from fastlic.runtime.entropy.writer import StreamWriter
from fastlic.runtime.limits import Limits
from fastlic.runtime.manifest import IMAGE, RATE, Code
from fastlic.runtime.pin import check_pin
from fastlic.runtime.schedule import Timings, check_tensor, code_tile, run_in_windows, stage, symbol_crc
from fastlic.runtime.student import Student
from fastlic.runtime.symbols import Symbols
from fastlic.runtime.tiles import Box, TileGrid

BundleSource = str | os.PathLike[str] | bytes | Bundle


class _Coder:
    """What decoder and encoder share: an engine and the students loaded into it."""

    def __init__(
        self,
        bundle: BundleSource | None = None,
        *,
        engine: str | Engine = "auto",
        threads: int | None = None,
        limits: Limits | None = None,
        ignore_pin: bool = False,
    ) -> None:
        self.limits = limits or Limits()
        self._ignore_pin = ignore_pin
        self._engine = engines.create(engine, threads=threads) if isinstance(engine, str) else engine
        self._lock = threading.Lock()
        self._students: dict[bytes, Student] = {}
        self._named = None if bundle is None else self._load(bundle)

    @property
    def engine_info(self) -> EngineInfo:
        """Which engine runs the graphs, its version, device and threads."""
        return self._engine.info()

    def close(self) -> None:
        """Release the engine's graphs and the bundles. The object cannot be used afterwards."""
        self._engine.close()
        for student in self._students.values():
            student.bundle.close()
        self._students.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _load(self, source: BundleSource) -> Student:
        bundle = source if isinstance(source, Bundle) else Bundle(source, self.limits)
        if not self._ignore_pin:
            check_pin(bundle.manifest, self._engine)
        with self._lock:
            if bundle.fingerprint not in self._students:
                self._students[bundle.fingerprint] = Student(bundle, self._engine)
            return self._students[bundle.fingerprint]


class Decoder(_Coder):
    """Decodes `.lic` files. One decoder may be used by several threads at once.

    Args:
        bundle: the student to decode with, as a path, bytes or `Bundle`. None: the shipped student that wrote the file.
        engine: "auto" (the fastest that works) or an engine's name; see `fastlic doctor`.
        threads: of the engine and the entropy decoder; None: one per core.
        limits: bounds on what a file may ask for.
        entropy: "native" or "constriction"; "auto" takes the native reader, and warns where it was not built.
        ignore_pin: use a bundle that is pinned to another engine all the same; its files may then be refused as damaged.

    Raises:
        EngineUnavailable: the engine or reader asked for cannot run here.
        PinMismatch: the bundle is pinned to another engine, version or class of machine.
        BundleError: the bundle cannot be used.
    """

    def __init__(
        self,
        bundle: BundleSource | None = None,
        *,
        engine: str | Engine = "auto",
        threads: int | None = None,
        limits: Limits | None = None,
        entropy: str = "auto",
        ignore_pin: bool = False,
    ) -> None:
        super().__init__(bundle, engine=engine, threads=threads, limits=limits, ignore_pin=ignore_pin)
        self._entropy = _reader_backend(entropy)
        self._threads = threads or os.cpu_count() or 1

    def decode(
        self,
        data: bytes | bytearray | memoryview,
        out: np.ndarray | None = None,
        *,
        timings: Timings | None = None,
    ) -> np.ndarray:
        """Decode one picture.

        Args:
            data: a complete `.lic` file.
            out: (height, width, 3) uint8 to write into, of any strides; None allocates.
            timings: seconds per stage are added here.

        Returns:
            (height, width, 3) uint8, sRGB as the encoder got it, padding removed.
            Symbols are equal on all engines; pixels may differ by one level.

        Raises:
            TruncatedStream: data ends before its length fields say.
            CorruptedStream: a checksum or an end condition does not hold.
            FingerprintMismatch: written with another bundle.
            StudentNotFound: no shipped student fits (`bundle` was None).
            SymbolMismatch: latent checksum differs; no picture is returned.
            LimitExceeded: more than `limits` allow.
            BundleError: a graph of the bundle does not do what its manifest says.
            ValueError: `out` does not fit the picture.
        """
        header = bitstream.probe(data)
        shape = (header.height, header.width, 3)
        if out is not None and (out.shape != shape or out.dtype != np.uint8):
            raise ValueError(f"out must be uint8 {shape}, not {out.dtype} {out.shape}")
        student = self._student(header)
        latents, grid = self.decode_latents(data, timings=timings)
        picture = np.empty(shape, np.uint8) if out is None else out
        tensors = {**latents, **student.given(header.rate), IMAGE: picture}
        for step in student.picture_steps:
            run_in_windows(
                student.manifest, step, grid.padded, tensors, student.graphs, timings, {IMAGE: Box(0, 0, *shape[1::-1])}
            )
        return picture

    def decode_batch(self, files: Iterable[bytes | bytearray | memoryview]) -> list[np.ndarray]:
        """Decode several files, one after the other; the first error is raised.

        Returns:
            One array per file, as `decode` returns it.
        """
        return [self.decode(data) for data in files]

    def decode_latents(
        self,
        data: bytes | bytearray | memoryview,
        *,
        timings: Timings | None = None,
    ) -> tuple[dict[str, np.ndarray], TileGrid]:
        """Decode the symbols alone: everything in the file, checked against its checksums, and no picture.

        Returns:
            The tensors that the picture's synthesis needs (int16 (C, h, w) latents of the padded picture) and the grid.

        Raises:
            As `decode`.
        """
        with stage(timings, "parse"):
            header = bitstream.probe(data)
            student = self._student(header)
            given = student.given(header.rate)
            grid = header.grid(student.manifest.multiple)
            padded = grid.padded
            self.limits.check("max_pixels", padded.width * padded.height, "the picture's pixels")
            tile_pixels = min(grid.tile_width, padded.width) * min(grid.tile_height, padded.height)
            self.limits.check("max_tile_pixels", tile_pixels, "a tile's pixels")
            bitstream.read_metadata(data, header, self.limits)
            tiles = bitstream.read_tiles(data, header, grid, student.mapped, self.limits)
        whole: dict[str, np.ndarray] = {}
        for number, (box, tile) in enumerate(zip(grid, tiles, strict=True)):
            tensors = self._decode_tile(student, number, box, tile, given, timings)
            for name, stride in student.synthesis_strides.items():
                if name not in whole:
                    area = padded.scaled(stride)
                    whole[name] = np.empty((*tensors[name].shape[:-2], area.height, area.width), tensors[name].dtype)
                part = box.scaled(stride)
                expected = (*whole[name].shape[:-2], part.height, part.width)
                check_tensor(name, tensors[name], whole[name].dtype, expected)
                rows, columns = part.slices
                whole[name][..., rows, columns] = tensors[name]
        return whole, grid

    def _decode_tile(
        self,
        student: Student,
        number: int,
        box: Box,
        tile: bitstream.TileData,
        given: Mapping[str, np.ndarray],
        timings: Timings | None,
    ) -> dict[str, np.ndarray]:
        active = {
            name: np.unpackbits(np.frombuffer(bits, np.uint8), bitorder="little")[: student.mapped[name]].astype(bool)
            for name, bits in tile.channel_maps.items()
        }
        reader = open_reader(tile.streams, backend=self._entropy, threads=self._threads)

        def read(step: Code, pass_: Pass, _: Mapping[str, np.ndarray]) -> np.ndarray:
            return reader.code(pass_)

        tensors = code_tile(
            student.manifest,
            student.tile_steps,
            box,
            student.graphs,
            student.distributions,
            active,
            read,
            timings,
            given,
        )
        reader.finish()
        if symbol_crc(student.manifest.coded, tensors) != tile.symbol_crc:
            raise SymbolMismatch(
                f"tile[{number}]: the decoded latents do not have the checksum in the file. The file is damaged, or "
                "this machine does not compute the entropy networks exactly: run `fastlic verify`."
            )
        return tensors

    def _student(self, header: bitstream.Header) -> Student:
        if self._named is not None:
            if self._named.bundle.fingerprint != header.fingerprint:
                raise FingerprintMismatch(
                    f"the file was written with a bundle of fingerprint {header.fingerprint.hex()}, not with "
                    f"{self._named.manifest.name} ({self._named.bundle.fingerprint.hex()}). Name the right bundle."
                )
            return self._named
        known = self._students.get(header.fingerprint)
        return known or self._load(bundles.for_file(header, self.limits))


class Encoder(_Coder):
    """Encodes pictures. One encoder may be used by several threads at once.

    Args:
        bundle: the student to encode with, as a path, bytes or `Bundle`. None: the default shipped student.
        engine, threads, limits: as for `Decoder`.

    Raises:
        BundleError: the bundle cannot be used, or was published without an encoder.
    """

    def encode(
        self,
        image: np.ndarray,
        *,
        metadata: Mapping[str, bytes] | None = None,
        stream_count: int | None = None,
        rate: int | None = None,
        timings: Timings | None = None,
    ) -> bytes:
        """Encode one picture.

        Args:
            image: (height, width, 3) uint8, sRGB.
            metadata: any of "icc", "exif", "xmp".
            stream_count: range coder streams per tile, 1 to 64; None: about one per 10 KB.
            rate: of a student with several: 1 (fewest bits) to its manifest's `rates`; None: the middle one.
            timings: seconds per stage are added here.

        Returns:
            A complete `.lic` file.

        Raises:
            PictureError: not such an array.
            LimitExceeded: more pixels than `limits.max_pixels`.
            RateUnavailable: the student does not have this rate.
            BundleError: a graph of the bundle does not do what its manifest says.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise PictureError(f"image must be uint8 (height, width, 3), not {image.dtype} {image.shape}.")
        student = self._named or self._load(bundles.default(self.limits))
        self._named = student
        if not student.manifest.analysis:
            raise PictureError(f"{student.manifest.name}: this bundle was published without an encoder.")
        chosen = student.rate(rate)
        height, width = image.shape[:2]
        grid = TileGrid.choose(width, height, student.manifest.multiple)
        padded = grid.padded
        self.limits.check("max_pixels", padded.width * padded.height, "the picture's pixels")
        extended = np.pad(image, ((0, padded.height - height), (0, padded.width - width), (0, 0)), mode="edge")
        tensors = student.analyse(padded, extended, timings, chosen)
        tiles = [self._encode_tile(student, box, tensors, stream_count, timings) for box in grid]
        return bitstream.write(
            width=width,
            height=height,
            grid=grid,
            fingerprint=student.bundle.fingerprint,
            student=student.manifest.name,
            metadata=metadata or {},
            tiles=tiles,
            rate=chosen,
        )

    @staticmethod
    def _encode_tile(
        student: Student,
        box: Box,
        tensors: Mapping[str, np.ndarray],
        stream_count: int | None,
        timings: Timings | None,
    ) -> bitstream.TileData:
        symbols = Symbols(student.manifest, box, student.analyse_tile(box, tensors, timings))
        active = {name: symbols.active(name) for name in student.mapped}
        writer = StreamWriter()

        def write(step: Code, pass_: Pass, known: Mapping[str, np.ndarray]) -> np.ndarray:
            return writer.code(pass_, symbols.of(step, known))

        coded = code_tile(
            student.manifest,
            student.coding_steps,
            box,
            student.graphs,
            student.distributions,
            active,
            write,
            timings,
            {RATE: tensors[RATE]} if RATE in tensors else None,
        )
        with stage(timings, "write"):
            streams: Sequence[bytes] = writer.finish(stream_count)
        maps = {name: np.packbits(bits, bitorder="little").tobytes() for name, bits in active.items()}
        return bitstream.TileData(maps, streams, symbol_crc(student.manifest.coded, coded))


def _reader_backend(asked: str) -> Backend:
    if asked == "auto":
        if native.available():
            return "native"
        warnings.warn(
            "the native entropy decoder was not built: constriction reads the streams, several times slower. "
            "Reinstall fastlic with a C++ compiler.",
            RuntimeWarning,
            stacklevel=3,
        )
        return "constriction"
    if asked not in ("native", "constriction"):
        raise ValueError(f"entropy must be auto, native or constriction, not {asked!r}")
    return asked  # type: ignore[return-value]
