"""`Decoder` and `Encoder`: a bundle, an engine and the range coder put together.

Knows the order of work for one picture; the parts know how.
Rule: docs/format.md, sections 1 to 3.
"""

from __future__ import annotations

import contextlib
import threading
import traceback
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from fastlic.errors import CoderClosed, EngineUnavailable, FastlicError, FingerprintMismatch, PictureError
from fastlic.kernels import native
from fastlic.runtime import bitstream, engines
from fastlic.runtime import bundle as bundles
from fastlic.runtime.coder import BundleSource, Coder
from fastlic.runtime.deadline import Deadline
from fastlic.runtime.decoding import Data, Decoding, Region
from fastlic.runtime.engines import Engine
from fastlic.runtime.engines.device import DeviceEngine
from fastlic.runtime.entropy import range_coder
from fastlic.runtime.entropy.passes import Pass
from fastlic.runtime.entropy.reader import Backend
from fastlic.runtime.entropy.writer import StreamWriter
from fastlic.runtime.limits import Limits
from fastlic.runtime.lookahead import begun_ahead
from fastlic.runtime.manifest import RATE, Code
from fastlic.runtime.schedule import Timings, code_tile, stage, symbol_crc
from fastlic.runtime.student import Student
from fastlic.runtime.symbols import Symbols
from fastlic.runtime.tiles import Box, TileGrid

if TYPE_CHECKING:
    from fastlic.kernels.cuda.arrays import DeviceArray
    from fastlic.runtime.device.decoding import DeviceDecoding

OnError = Literal["raise", "return"]
Result = np.ndarray | FastlicError | MemoryError
"""A picture, or what kept it from being decoded."""


class Decoder(Coder):
    """Decodes `.lic` files. One decoder may be used by several threads at once.

    Args:
        bundle: the student to decode with, as a path, bytes or `Bundle`. None: the shipped student that wrote the file.
        engine: "auto" (the fastest that works) or an engine's name; see `fastlic doctor`.
        device: for engines that run on a GPU: its number, or "cuda", "cuda:1"; None: the engine's own choice.
        threads: of the engine and the entropy decoder; None: one per core.
        limits: bounds on what a file may ask for.
        entropy: "native" or "constriction"; "auto" takes the native reader, and warns where it was not built.
        ignore_pin: use a bundle that is pinned to another engine all the same; its files may be refused as damaged.

    Raises:
        EngineUnavailable: the engine or reader asked for cannot run here.
        DependencyMissing: constriction is to read and is not installed.
        PinMismatch: the bundle is pinned to another engine, version or class of machine.
        BundleError: the bundle cannot be used.
    """

    def __init__(
        self,
        bundle: BundleSource | None = None,
        *,
        engine: str | Engine = "auto",
        device: int | str | None = None,
        threads: int | None = None,
        limits: Limits | None = None,
        entropy: str = "auto",
        ignore_pin: bool = False,
    ) -> None:
        self._entropy = _reader_backend(entropy)
        super().__init__(bundle, engine=engine, device=device, threads=threads, limits=limits, ignore_pin=ignore_pin)
        self._made_with["entropy"] = entropy
        self._threads = threads or engines.usable_cores()

    def decode(
        self,
        data: Data,
        out: np.ndarray | None = None,
        *,
        timings: Timings | None = None,
        region: Region | None = None,
        timeout: float | None = None,
        cancel: threading.Event | None = None,
    ) -> np.ndarray:
        """Decode one picture, or a region of it.

        Args:
            data: a complete `.lic` file.
            out: uint8 of the result's shape to write into, of any strides; None allocates.
            timings: seconds per stage are added here.
            region: (left, top, right, bottom) in pixels, right and bottom excluded. Only the tiles and the synthesis
                that it needs are computed; other tiles are not checked. None: the whole picture.
            timeout: seconds; looked at between steps, so that one step more may pass.
            cancel: looked at likewise; another thread sets it to stop.

        Returns:
            (height, width, 3) uint8, sRGB as the encoder got it, padding removed.
            Symbols are equal on all engines; pixels may differ by one level, as may those of a region from the same
            pixels of the whole.

        Raises:
            TruncatedStream: data ends before its length fields say.
            CorruptedStream: a checksum or an end condition does not hold.
            FingerprintMismatch: written with another bundle.
            StudentNotFound: no shipped student fits (`bundle` was None).
            SymbolMismatch: latent checksum differs; no picture is returned.
            LimitExceeded: more than `limits` allow.
            BundleError: a graph of the bundle does not do what its manifest says.
            TimedOut, Cancelled: stopped before a step; `out` may hold a part of the picture.
            CoderClosed: the decoder was closed.
            MemoryError: there is not enough memory; the decoder stays usable.
            ValueError: `out` or `region` does not fit the picture.
        """
        deadline = Deadline(timeout, cancel)
        with self._in_use(deadline):
            decoding = self._open(data, region=region, deadline=deadline, timings=timings)
            if out is not None and (out.shape != decoding.shape or out.dtype != np.uint8):
                raise ValueError(f"out must be uint8 {decoding.shape}, not {out.dtype} {out.shape}")
            decoding.read_symbols(self._entropy, self._threads)
            return decoding.synthesise(out)

    def decode_on_device(
        self,
        data: Data,
        *,
        timings: Timings | None = None,
        timeout: float | None = None,
        cancel: threading.Event | None = None,
    ) -> DeviceArray:
        """Decode one picture, and leave it on the engine's device; arguments and errors as for `decode`.

        Returns:
            uint8 (height, width, 3), complete, the caller's own. Other libraries take it without a copy, by DLPack
            (`torch.from_dlpack`) or the CUDA array interface (`cupy.asarray`).

        Raises:
            EngineUnavailable: the engine's tensors live on the host.
        """
        deadline = Deadline(timeout, cancel)
        with self._in_use(deadline):
            if not isinstance(self._present_engine(), DeviceEngine):
                raise EngineUnavailable(
                    f"the engine {self.engine_info.name} has no device to leave a picture on: name one that runs on a "
                    "GPU, such as ort-cuda or tensorrt."
                )
            decoding = self._open(data, deadline=deadline, timings=timings)
            decoding.read_symbols(self._entropy, self._threads)
            return cast("DeviceDecoding", decoding).synthesise_on_device()

    def decode_batch(self, files: Iterable[Data], *, on_error: OnError = "raise") -> list[Result]:
        """Decode several files; the list of what `decode_stream` yields.

        Args:
            files: complete `.lic` files.
            on_error: "raise" the first error, or "return" it in the place of its picture and go on.
        """
        return list(self.decode_stream(files, on_error=on_error))

    def decode_stream(self, files: Iterable[Data], *, on_error: OnError = "raise", ahead: int = 1) -> Iterator[Result]:
        """Decode files one after the other, reading symbols of the next while the present picture is synthesised.

        Args:
            files: complete `.lic` files; taken in the caller's thread, `ahead` files before their picture is yielded.
            on_error: "raise" an error in the place of its picture, after which there are no more; or "return" it
                there and go on. Only what concerns the file is returned: `FastlicError` and `MemoryError`.
            ahead: files whose symbols may be read before they are needed; bounds the memory. 0: no file is taken
                before its picture is asked for.

        Yields:
            One picture per file, in order, as `decode` returns it.

        Raises:
            As `decode`; what `files` raises, after the pictures before it.
            ValueError: another `on_error`, or a negative `ahead`.
        """
        if on_error not in ("raise", "return"):
            raise ValueError(f"on_error must be raise or return, not {on_error!r}")
        if ahead < 0:
            raise ValueError(f"ahead must be 0 or more, not {ahead}")
        return self._stream(begun_ahead(files, self._symbols, ahead), on_error)

    def decode_latents(self, data: Data, *, timings: Timings | None = None) -> tuple[dict[str, np.ndarray], TileGrid]:
        """Decode the symbols alone: everything in the file, checked against its checksums, and no picture.

        Returns:
            The tensors that the picture's synthesis needs (int16 (C, h, w) latents of the padded picture) and the grid.

        Raises:
            As `decode`.
        """
        with self._in_use():
            decoding = self._open(data, timings=timings, on_host=True)
            decoding.read_symbols(self._entropy, self._threads)
            return decoding.latents, decoding.grid

    def _open(
        self,
        data: Data,
        *,
        region: Region | None = None,
        deadline: Deadline | None = None,
        timings: Timings | None = None,
        on_host: bool = False,
    ) -> Decoding:
        """The file, parsed and ready to be decoded. The only place that chooses how.

        A region, or a caller who wants latents on the host, runs graph by graph, whatever the engine.
        """
        with stage(timings, "parse"):
            header = bitstream.probe(data)
            student = self._student(lambda: bundles.for_file(header, self.limits), header.fingerprint)
        if student.bundle.fingerprint != header.fingerprint:
            raise FingerprintMismatch(
                f"the file was written with a bundle of fingerprint {header.fingerprint.hex()}, not with "
                f"{student.manifest.name} ({student.bundle.fingerprint.hex()}). Name the right bundle."
            )
        settings: Any = {"limits": self.limits, "region": region, "deadline": deadline, "timings": timings}
        if region is None and not on_host and isinstance(self._present_engine(), DeviceEngine):
            from fastlic.runtime.device.decoding import DeviceDecoding

            return DeviceDecoding(data, header, student, **settings)
        return Decoding(data, header, student, **settings)

    def _symbols(self, data: Data) -> Decoding:
        """The first half of a decode. An error waits for its turn without the tensors that its frames hold."""
        try:
            return self._read(data)
        except (FastlicError, MemoryError) as error:
            traceback.clear_frames(error.__traceback__)
            raise

    def _read(self, data: Data) -> Decoding:
        with self._in_use():
            decoding = self._open(data)
            decoding.read_symbols(self._entropy, self._threads)
            return decoding

    def _pixels(self, decoding: Decoding) -> np.ndarray:
        """The second half."""
        with self._in_use():
            return decoding.synthesise()

    def _stream(self, begun: Generator[Callable[[], Decoding], None, None], on_error: OnError) -> Iterator[Result]:
        with contextlib.closing(begun):
            for wait in begun:
                result: Result
                try:
                    result = self._pixels(wait())
                except CoderClosed:
                    raise
                except (FastlicError, MemoryError) as error:
                    if on_error == "raise":
                        raise
                    traceback.clear_frames(error.__traceback__)  # who keeps it keeps no tensors of its picture
                    result = error
                yield result


class Encoder(Coder):
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
            DependencyMissing: constriction, which writes the streams, is not installed.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise PictureError(f"image must be uint8 (height, width, 3), not {image.dtype} {image.shape}.")
        with self._in_use():
            student = self._student(lambda: bundles.default(self.limits))
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
    if asked == "native" or (asked == "auto" and native.available()):
        return "native"
    if asked not in ("auto", "constriction"):
        raise ValueError(f"entropy must be auto, native or constriction, not {asked!r}")
    range_coder.library()  # refuse now rather than at the first picture
    if asked == "auto":
        warnings.warn(
            "the native entropy decoder was not built: constriction reads the streams, several times slower. "
            "Reinstall fastlic with a C++ compiler.",
            RuntimeWarning,
            stacklevel=3,
        )
    return "constriction"
