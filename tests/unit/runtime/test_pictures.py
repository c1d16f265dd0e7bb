"""runtime/pictures.py: what is converted, what is refused, and what travels with the pixels."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from fastlic.errors import PictureError
from fastlic.runtime import pictures

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"></x:xmpmeta>'
ORIENTATION, ARTIST = 274, 315


@pytest.fixture
def pixels(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (13, 17, 3), dtype=np.uint8)


@pytest.fixture
def exif() -> bytes:
    tags = Image.Exif()
    tags[ORIENTATION] = 6
    tags[ARTIST] = "someone"
    return tags.tobytes().removeprefix(b"Exif\x00\x00")


def file_of(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def tag_of(exif: bytes, tag: int) -> object:
    tags = Image.Exif()
    tags.load(exif)
    return tags.get(tag)


def deep_png(channels: int, samples: np.ndarray) -> bytes:
    """A 16-bit PNG, written by hand because Pillow writes no 16-bit colour."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    height, width = samples.shape[:2]
    rows = b"".join(b"\x00" + row.astype(">u2").tobytes() for row in samples)
    head = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 3: 2}[channels], 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM", "BMP"])
def test_load_rgb_of_a_lossless_format_gives_its_pixels_and_no_notice(pixels: np.ndarray, kind: str) -> None:
    picture = pictures.load(file_of(Image.fromarray(pixels), kind))

    np.testing.assert_array_equal(picture.pixels, pixels)
    assert picture.pixels.flags.c_contiguous
    assert picture.notices == ()


def test_load_grey_repeats_it_in_three_channels_and_says_so(pixels: np.ndarray) -> None:
    picture = pictures.load(file_of(Image.fromarray(pixels[..., 0])))

    np.testing.assert_array_equal(picture.pixels, np.repeat(pixels[..., :1], 3, axis=2))
    assert picture.notices == ("grey picture stored as RGB",)


def test_load_palette_gives_the_palettes_colours(pixels: np.ndarray) -> None:
    image = Image.fromarray(pixels).quantize(16)

    picture = pictures.load(file_of(image))

    np.testing.assert_array_equal(picture.pixels, np.asarray(image.convert("RGB")))


def test_load_cmyk_converts_and_says_so(pixels: np.ndarray) -> None:
    picture = pictures.load(file_of(Image.fromarray(pixels).convert("CMYK"), "TIFF"))

    assert picture.pixels.shape == pixels.shape
    assert picture.notices == ("CMYK picture stored as RGB",)


@pytest.mark.parametrize("channels", [1, 3])
def test_load_16_bit_keeps_the_high_byte_and_says_so(rng: np.random.Generator, channels: int) -> None:
    samples = rng.integers(0, 65536, (5, 7, channels), dtype=np.uint16)

    picture = pictures.load(deep_png(channels, samples))

    np.testing.assert_array_equal(picture.pixels, np.broadcast_to((samples >> 8).astype(np.uint8), (5, 7, 3)))
    assert any("8 bits" in notice for notice in picture.notices)


@pytest.mark.parametrize(("kind", "channels"), [(b"P5", 1), (b"P6", 3)])
def test_load_16_bit_ppm_is_reduced_and_says_so(kind: bytes, channels: int) -> None:
    samples = np.full((1, 2, channels), 0xABAB, ">u2")

    picture = pictures.load(kind + b"\n2 1\n65535\n" + samples.tobytes())

    assert (picture.pixels == 0xAB).all()
    assert "8 bits" in picture.notices[0]


def test_load_16_bit_grey_with_a_transparent_value_is_refused() -> None:
    content = deep_png(1, np.zeros((4, 4, 1), np.uint16))
    transparency = b"tRNS" + struct.pack(">H", 0)
    chunk = struct.pack(">I", 2) + transparency + struct.pack(">I", zlib.crc32(transparency))

    with pytest.raises(PictureError):
        pictures.load(content[:33] + chunk + content[33:])


@pytest.mark.parametrize("mode", ["I", "F"])
def test_load_pixels_without_an_8_bit_meaning_are_refused(mode: str) -> None:
    with pytest.raises(PictureError, match=f"kind {mode} .*Convert it"):
        pictures.load(file_of(Image.new(mode, (4, 4)), "TIFF"))


def test_load_opaque_alpha_is_dropped_and_said(pixels: np.ndarray) -> None:
    image = Image.fromarray(pixels)
    image.putalpha(255)

    picture = pictures.load(file_of(image))

    np.testing.assert_array_equal(picture.pixels, pixels)
    assert "opaque" in picture.notices[0]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_load_transparent_pixels_are_refused_with_the_way_out(mode: str) -> None:
    with pytest.raises(PictureError, match=r"transparent pixels.*--background"):
        pictures.load(file_of(Image.new(mode, (4, 4))))


def test_load_transparent_palette_entry_is_refused(pixels: np.ndarray) -> None:
    image = Image.fromarray(pixels).quantize(4)

    with pytest.raises(PictureError, match="transparent pixels"):
        pictures.load(file_of(image, transparency=0))


def test_load_transparent_pixels_lie_over_the_background_asked_for() -> None:
    image = Image.new("RGBA", (2, 1), (255, 0, 0, 255))
    image.putpixel((1, 0), (0, 0, 0, 0))

    picture = pictures.load(file_of(image), background="#102030")

    assert picture.pixels.tolist() == [[[255, 0, 0], [16, 32, 48]]]


def test_load_unknown_background_colour_is_refused() -> None:
    with pytest.raises(PictureError, match="'blurple' is not a colour"):
        pictures.load(file_of(Image.new("RGBA", (1, 1))), background="blurple")


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_load_several_frames_are_refused(kind: str) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]

    with pytest.raises(PictureError, match="2 frames"):
        pictures.load(file_of(frames[0], kind, save_all=True, append_images=frames[1:]))


def test_load_camera_jpeg_with_a_preview_behind_it_gives_the_first_picture(pixels: np.ndarray) -> None:
    main = Image.fromarray(pixels)

    picture = pictures.load(file_of(main, "MPO", save_all=True, append_images=[main.resize((4, 4))]))

    assert picture.pixels.shape == pixels.shape


def test_load_picture_that_claims_to_be_huge_is_refused_before_it_is_inflated() -> None:
    content = bytearray(deep_png(3, np.zeros((1, 1, 3), np.uint16)))
    content[16:24] = struct.pack(">II", 1 << 20, 1 << 20)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))

    with pytest.raises(PictureError, match="could be decompression bomb"):
        pictures.load(bytes(content))


@pytest.mark.parametrize("cut", [0, 1, 8, 40, -200])
def test_load_truncated_picture_is_refused(pixels: np.ndarray, cut: int) -> None:
    with pytest.raises(PictureError, match=r"cat\.png: "):
        pictures.load(file_of(Image.fromarray(pixels))[:cut], name="cat.png")


def test_load_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match=r"absent\.png: cannot be read: No such file"):
        pictures.load(tmp_path / "absent.png")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tiff"])
def test_metadata_survives_every_format_that_has_room(pixels: np.ndarray, exif: bytes, suffix: str) -> None:
    metadata = {"icc": SRGB, "exif": exif, "xmp": XMP}

    again = pictures.load(pictures.to_bytes(pixels, metadata, suffix)).metadata

    assert again["icc"] == SRGB
    assert again["xmp"] == XMP
    assert tag_of(again["exif"], ARTIST) == "someone"


def test_load_does_not_rotate_what_exif_says_is_rotated(pixels: np.ndarray, exif: bytes) -> None:
    picture = pictures.load(file_of(Image.fromarray(pixels), exif=exif))

    np.testing.assert_array_equal(picture.pixels, pixels)
    assert picture.metadata == {"exif": exif}


def test_load_tiff_is_upright_and_loses_the_orientation_that_was_applied(pixels: np.ndarray, exif: bytes) -> None:
    picture = pictures.load(pictures.to_bytes(pixels, {"exif": exif}, ".tif"))

    np.testing.assert_array_equal(picture.pixels, np.rot90(pixels, -1))
    assert tag_of(picture.metadata["exif"], ORIENTATION) is None


def test_load_tiff_keeps_no_tags_of_its_own_layout(pixels: np.ndarray) -> None:
    assert pictures.load(file_of(Image.fromarray(pixels), "TIFF")).metadata == {}


def test_load_grey_with_a_profile_is_converted_and_the_profile_goes(pixels: np.ndarray) -> None:
    picture = pictures.load(file_of(Image.fromarray(pixels[..., 0]), icc_profile=SRGB))

    assert "icc" not in picture.metadata
    assert "could not be used" in picture.notices[0]


def test_load_rgb_with_a_foreign_profile_drops_it_and_says_so(pixels: np.ndarray) -> None:
    cmyk_profile = SRGB[:16] + b"CMYK" + SRGB[20:]

    picture = pictures.load(file_of(Image.fromarray(pixels), icc_profile=cmyk_profile))

    assert picture.metadata == {}
    assert "not one for RGB" in picture.notices[0]


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif", ".ppm", ".PNG"])
def test_save_lossless_formats_give_the_pixels_back(pixels: np.ndarray, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"picture{suffix}"

    pictures.save(path, pixels, {})

    np.testing.assert_array_equal(pictures.load(path).pixels, pixels)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_save_unknown_suffix_is_refused_with_those_known(pixels: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(PictureError, match=r"cannot write \.xyz; use one of \.png"):
        pictures.save(tmp_path / "picture.xyz", pixels, {})


def test_save_metadata_too_large_for_the_format_is_refused_and_leaves_nothing(
    pixels: np.ndarray, tmp_path: Path
) -> None:
    with pytest.raises(PictureError, match="JPEG cannot hold this picture"):
        pictures.save(tmp_path / "picture.jpg", pixels, {"exif": bytes(70_000)})

    assert list(tmp_path.iterdir()) == []


def test_lost_metadata_names_what_a_ppm_has_no_room_for() -> None:
    metadata = {"icc": SRGB, "xmp": XMP}

    assert pictures.lost_metadata(metadata, ".ppm") == ("icc", "xmp")
    assert pictures.lost_metadata(metadata, ".png") == ()
