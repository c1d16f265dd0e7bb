"""Read any picture that Pillow reads as 8-bit RGB, and write decoded pictures, with their metadata.

Rule: what would be lost is either said in a notice (bits beyond 8, a grey or CMYK original) or, when nobody could
see it coming (transparency, animation), refused. Pixels are not rotated: the EXIF orientation travels with them,
as it does when a camera writes a JPEG. (Of TIFF, Pillow rotates the pixels and removes the tag: upright either way.)
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import PIL
from PIL import Image, ImageCms, ImageColor, PngImagePlugin, UnidentifiedImageError

from fastlic.errors import PictureError
from fastlic.runtime.files import write_atomically

FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".ppm": "PPM",
}
"""Suffix -> Pillow's name of the formats that decoded pictures are written in."""

READABLE = frozenset({*FORMATS, ".avif", ".bmp", ".jp2", ".pgm"})
"""Suffixes of what is a picture in a folder. A file that is named is read whatever its suffix."""

# Only JPEG loses anything: at this quality and without chroma subsampling hardly more than a level.
_SAVE_OPTIONS: dict[str, dict[str, object]] = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"lossless": True},
    "TIFF": {"compression": "tiff_deflate"},
}
_EXIF_PREFIX = b"Exif\x00\x00"
_TIFF_XMP_TAG = 700
# TIFF keeps EXIF among the tags that describe its own layout; these are the ones about the picture.
_TIFF_PICTURE_TAGS = frozenset({270, 271, 272, 274, 305, 306, 315, 33432, 34665, 34853})
_MULTIPLE_PICTURES = "MPO"  # a JPEG with previews or a second eye behind it: the first picture is the picture
_DEEP_RAW_MODE = re.compile(r";16[BLNS]")
_DEEP_MODES = ("I;16", "I;16B", "I;16L", "I;16N")


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as the encoder takes it.

    Attributes:
        pixels: (height, width, 3) uint8, C-contiguous, as stored (not rotated by EXIF).
        metadata: any of "icc", "exif" (a TIFF structure, without a JPEG prefix), "xmp".
        notices: sentences on what is not as in the original, for the user.
    """

    pixels: np.ndarray
    metadata: dict[str, bytes] = field(default_factory=dict)
    notices: tuple[str, ...] = ()


def load(source: Path | bytes, *, name: str | None = None, background: str | None = None) -> Picture:
    """Read one picture.

    Args:
        source: a path, or the content of a file.
        name: what messages call it; the path by default.
        background: colour to lay under transparent pixels, as CSS writes it ("white", "#102030").

    Raises:
        PictureError: not readable, damaged, animated, of a kind whose values have no agreed 8-bit meaning, or
            transparent when there is no `background`.
    """
    name = name or (str(source) if isinstance(source, Path) else "picture")
    try:
        content = source.read_bytes() if isinstance(source, Path) else source
    except OSError as error:
        raise PictureError(f"{name}: cannot be read: {error.strerror}.") from None
    notices: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the error beyond it stays
        try:
            with Image.open(io.BytesIO(content)) as image:
                _refuse_animation(image, name)
                deep = _is_deep(image)
                if deep:
                    notices.append("more than 8 bits per channel: reduced to 8")
                image.load()
                metadata = _metadata(image)  # a PNG may hold some of it behind the pixels
                if image.has_transparency_data:
                    flat = _opaque(image, name, background, notices)
                else:
                    flat = _shallow(image) if deep else image
                pixels = np.ascontiguousarray(_to_rgb(flat, metadata, name, notices))
        except PictureError:
            raise
        except UnidentifiedImageError:
            raise PictureError(f"{name}: not a picture of a format that Pillow {PIL.__version__} reads.") from None
        except Exception as error:  # Pillow's plugins raise whatever a damaged file leads them to
            raise PictureError(f"{name}: cannot be decoded: {error or type(error).__name__}.") from error
    return Picture(pixels, metadata, tuple(notices))


def to_bytes(pixels: np.ndarray, metadata: Mapping[str, bytes], suffix: str, *, name: str = "picture") -> bytes:
    """A picture file's content.

    Args:
        pixels: (height, width, 3) uint8.
        metadata: any of "icc", "exif", "xmp"; a format without room for one leaves it out (`lost_metadata`).
        suffix: one of `FORMATS`.

    Raises:
        PictureError: an unknown suffix, or the format cannot hold the picture or its metadata.
    """
    kind = _format(suffix, name)
    buffer = io.BytesIO()
    try:
        options = _SAVE_OPTIONS.get(kind, {}) | _metadata_options(kind, metadata)
        Image.fromarray(pixels).save(buffer, kind, **options)
    except (ValueError, OSError, OverflowError, UnicodeDecodeError) as error:
        raise PictureError(f"{name}: {kind} cannot hold this picture: {error}. Write a .png instead.") from error
    return buffer.getvalue()


def save(path: Path, pixels: np.ndarray, metadata: Mapping[str, bytes]) -> None:
    """Write a picture file, whole or not at all; its format follows from the suffix. See `to_bytes`."""
    write_atomically(path, to_bytes(pixels, metadata, path.suffix, name=str(path)))


def lost_metadata(metadata: Mapping[str, bytes], suffix: str) -> tuple[str, ...]:
    """Names of the metadata that a file of this suffix has no room for."""
    return tuple(metadata) if FORMATS.get(suffix.lower()) == "PPM" else ()


def _format(suffix: str, name: str) -> str:
    kind = FORMATS.get(suffix.lower())
    if kind is None:
        raise PictureError(
            f"{name}: cannot write {suffix or 'a file without a suffix'}; use one of {', '.join(FORMATS)}."
        )
    return kind


def _refuse_animation(image: Image.Image, name: str) -> None:
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != _MULTIPLE_PICTURES:
        raise PictureError(f"{name}: has {frames} frames or pages; a .lic file holds one. Extract the one you mean.")


def _is_deep(image: Image.Image) -> bool:
    """Whether a channel has more than 8 bits.

    Pillow reads 16-bit colour as RGB without a word: only what it is about to read, the tile, tells. A tile ends with
    the raw mode, alone or in a tuple; that of a PPM other than 8-bit is (mode, largest value).
    """
    return image.mode in _DEEP_MODES or any(
        _DEEP_RAW_MODE.search(str(tile[-1])) or (tile[0] == "ppm" and tile[-1][-1] > 255)
        for tile in getattr(image, "tile", ())
    )


def _metadata(image: Image.Image) -> dict[str, bytes]:
    """ICC, EXIF and XMP as the file holds them; empty ones left out."""
    exif = image.info.get("exif", b"")
    if image.format == "TIFF":
        tags = image.getexif()
        for tag in set(tags) - _TIFF_PICTURE_TAGS:
            del tags[tag]
        exif = tags.tobytes() if tags else b""
    xmp = image.info.get("xmp", b"")
    found = {
        "icc": image.info.get("icc_profile") or b"",
        "exif": exif.removeprefix(_EXIF_PREFIX),
        "xmp": xmp.encode() if isinstance(xmp, str) else xmp,
    }
    return {key: bytes(value) for key, value in found.items() if value}


def _shallow(image: Image.Image) -> Image.Image:
    """The high byte of 16-bit grey, as Pillow itself reduces colour; other modes hold 8 bits already."""
    if image.mode in (*_DEEP_MODES, "I"):
        return Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
    return image


def _to_rgb(image: Image.Image, metadata: dict[str, bytes], name: str, notices: list[str]) -> Image.Image:
    """The picture in mode RGB; `metadata` loses a profile that no longer fits, `notices` says so."""
    if image.mode == "P":
        image = image.convert("RGB")
    if image.mode == "RGB":
        if metadata.get("icc", b"RGB ".rjust(20))[16:20] != b"RGB ":
            del metadata["icc"]
            notices.append("the ICC profile is not one for RGB: left out")
        return image
    if image.mode in ("1", "L", "CMYK", "YCbCr"):
        return _converted(image, metadata, notices)
    raise PictureError(
        f"{name}: pixels of kind {image.mode} have no agreed 8-bit meaning. Convert it to 8-bit RGB first."
    )


def _opaque(image: Image.Image, name: str, background: str | None, notices: list[str]) -> Image.Image:
    """Without its alpha channel: dropped where it says nothing, laid over `background` where it does."""
    rgba = image.convert("RGBA")
    if rgba.getchannel("A").getextrema() == (255, 255):
        notices.append("the alpha channel is opaque everywhere: left out")
        return rgba.convert("RGB")
    if background is None:
        raise PictureError(
            f"{name}: has transparent pixels, which .lic does not hold. Choose a background (--background)."
        )
    try:
        colour = ImageColor.getrgb(background)[:3]
    except ValueError:
        raise PictureError(f"{background!r} is not a colour; write one like white or #102030.") from None
    notices.append(f"transparent pixels laid over {background}")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, (*colour, 255)), rgba).convert("RGB")


def _converted(image: Image.Image, metadata: dict[str, bytes], notices: list[str]) -> Image.Image:
    """Grey, CMYK or YCbCr as RGB: through its own profile to sRGB when it has one, else by Pillow's plain formulas."""
    kind = {"1": "black and white", "L": "grey"}.get(image.mode, image.mode)
    profile = metadata.pop("icc", None)
    if profile is None:
        notices.append(f"{kind} picture stored as RGB")
        return image.convert("RGB")
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        grey_or_colour = image.convert("L") if image.mode == "1" else image
        converted = ImageCms.profileToProfile(grey_or_colour, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError):
        notices.append(f"{kind} picture stored as RGB; its ICC profile could not be used: left out")
        return image.convert("RGB")
    notices.append(f"{kind} picture converted to sRGB through its ICC profile")
    assert converted is not None  # only in-place conversion returns nothing
    return converted


def _metadata_options(kind: str, metadata: Mapping[str, bytes]) -> dict[str, object]:
    """Arguments of Pillow's `save` for a format; PPM has room for nothing."""
    if kind == "PPM":
        return {}
    options: dict[str, object] = {}
    if icc := metadata.get("icc"):
        options["icc_profile"] = icc
    exif, xmp = metadata.get("exif"), metadata.get("xmp")
    if kind == "TIFF":
        tags = Image.Exif()
        tags.load(_EXIF_PREFIX + (exif or b""))
        if xmp:
            tags[_TIFF_XMP_TAG] = xmp
        return options | {"exif": tags}
    if exif:
        options["exif"] = _EXIF_PREFIX + exif
    if xmp and kind == "PNG":
        info = PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", xmp.decode())
        options["pnginfo"] = info
    elif xmp:
        options["xmp"] = xmp
    return options
