"""Pillow reads and writes `.lic` like any other format once `register_opener` was called.

Knows Pillow's plugin protocol: what opening, loading and saving must raise so that other plugins get their turn.
Pixels are decoded when they are first needed; size and metadata cost no decoding, `verify` only that of the symbols. A
damaged file is an error even with `ImageFile.LOAD_TRUNCATED_IMAGES`: half an entropy-coded picture is noise.
"""

from __future__ import annotations

import io
import threading
from typing import IO, Any

import numpy as np
from PIL import Image, ImageFile

from fastlic.errors import FastlicError, NotALicFile, TruncatedStream
from fastlic.runtime import bitstream
from fastlic.runtime.codec import Decoder, Encoder
from fastlic.runtime.limits import Limits

FORMAT = "LIC"
EXTENSION = ".lic"
MIME = "image/x-lic"
_EXIF_PREFIX = b"Exif\x00\x00"
_INFO_KEYS = {"icc": "icc_profile", "exif": "exif", "xmp": "xmp"}
_SAVED_MODES = ("RGB", "L", "1")


class _Shared:
    """The decoder and encoder of all pictures, made when the first one needs them."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.decoder: Decoder | None = None
        self.encoder: Encoder | None = None

    def decode(self, data: bytes) -> np.ndarray:
        return self._present_decoder().decode(data)

    def verify(self, data: bytes) -> None:
        self._present_decoder().decode_latents(data)

    def encode(self, pixels: np.ndarray, metadata: dict[str, bytes], rate: int | None) -> bytes:
        with self.lock:
            self.encoder = self.encoder or Encoder()
        return self.encoder.encode(pixels, metadata=metadata, rate=rate)

    def _present_decoder(self) -> Decoder:
        with self.lock:
            self.decoder = self.decoder or Decoder()
            return self.decoder


_shared = _Shared()


def register_opener(decoder: Decoder | None = None, encoder: Encoder | None = None) -> None:
    """Teach Pillow `.lic`. Calling it again replaces decoder and encoder.

    Args:
        decoder: used by `Image.open`; None: one with default settings, made when it is first needed.
        encoder: used by `Image.save`, likewise.
    """
    with _shared.lock:
        _shared.decoder, _shared.encoder = decoder, encoder
    Image.register_open(FORMAT, LicImageFile, _accept)
    Image.register_save(FORMAT, _save)
    Image.register_extension(FORMAT, EXTENSION)
    Image.register_mime(FORMAT, MIME)


class LicImageFile(ImageFile.ImageFile):
    """A `.lic` picture, mode RGB; `info` holds "icc_profile", "exif" and "xmp" where the file does."""

    format = FORMAT
    format_description = "learned image compression"

    def _open(self) -> None:
        assert self.fp is not None
        start = self.fp.read(bitstream.HEADER_SIZE)
        try:
            header = bitstream.probe(start)
            limits = Limits()
            limits.check("max_metadata_bytes", header.metadata_length, "metadata bytes")
            start += self.fp.read(header.metadata_length)
            metadata = bitstream.read_metadata(start, header, limits)
        except (NotALicFile, TruncatedStream) as error:
            raise SyntaxError(str(error)) from error  # Pillow asks the next plugin
        except FastlicError as error:
            raise OSError(str(error)) from error
        self._size, self._mode = (header.width, header.height), "RGB"
        for name, content in metadata.items():
            self.info[_INFO_KEYS[name]] = _EXIF_PREFIX + content if name == "exif" else content
        # A placeholder: it says that pixels are still to be loaded; `load` puts the decoded ones in its place.
        self.tile = [ImageFile._Tile(FORMAT, (0, 0, *self._size), 0, ())]

    def verify(self) -> None:
        """Check every checksum in the file, that of the symbols too, but make no pixels; open it again to load it.

        Raises:
            OSError: as `load`.
        """
        data = self._file()
        super().verify()
        try:
            _shared.verify(data)
        except FastlicError as error:
            raise OSError(str(error)) from error

    def load_seek(self, position: int) -> None:
        """Seek in the pixels; that it is here tells `ImageFile.Parser` to collect the whole file first."""
        assert self.fp is not None
        self.fp.seek(position)

    def load(self) -> Any:
        """Decode the pixels, if that has not been done.

        Raises:
            OSError: the file is damaged, or its student is not installed; the cause says which.
            ValueError: after `close` or `verify`.
        """
        if self.tile and self.tile[0].codec_name == FORMAT:
            try:
                pixels = _shared.decode(self._file())
            except FastlicError as error:
                raise OSError(str(error)) from error
            if self._exclusive_fp and self.fp is not None:
                self.fp.close()
            self.fp = io.BytesIO(pixels.tobytes())
            self.tile = [ImageFile._Tile("raw", (0, 0, *self._size), 0, ("RGB", 0, 1))]
        return super().load()

    def _file(self) -> bytes:
        if self.fp is None or self.fp.closed:
            raise ValueError("the picture was closed or verified before its pixels were loaded: open it again.")
        self.fp.seek(0)
        return self.fp.read()


def _accept(prefix: bytes) -> bool:
    return prefix.startswith(bitstream.MAGIC)


def _save(image: Image.Image, stream: IO[bytes], filename: str | bytes) -> None:
    """Pillow's save handler.

    Options: `icc_profile`, `exif` (bytes or `Image.Exif`) and `xmp`, by default the picture's own; `rate` as of
    `Encoder.encode`.
    """
    if image.mode not in _SAVED_MODES:
        raise OSError(f"cannot write mode {image.mode} as LIC; convert the picture to RGB first")
    options = {**image.info, **image.encoderinfo}
    exif = options.get("exif") or b""
    exif = exif.tobytes() if isinstance(exif, Image.Exif) else exif
    xmp = options.get("xmp") or b""
    metadata = {
        "icc": options.get("icc_profile") or b"",
        "exif": exif,
        "xmp": xmp.encode() if isinstance(xmp, str) else xmp,
    }
    for name, content in metadata.items():
        if not isinstance(content, bytes):
            raise TypeError(f"{_INFO_KEYS[name]} must be bytes, not {type(content).__name__}")
    metadata["exif"] = metadata["exif"].removeprefix(_EXIF_PREFIX)
    try:
        stream.write(_shared.encode(np.asarray(image.convert("RGB")), metadata, image.encoderinfo.get("rate")))
    except FastlicError as error:
        raise OSError(str(error)) from error
