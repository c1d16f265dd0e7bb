"""`.lic` in Pillow: the checklist of its own formats' tests, on the tiny student."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tiny_student
from PIL import Image, ImageFile, UnidentifiedImageError

import fastlic
from fastlic.errors import CorruptedStream
from fastlic.runtime import pillow
from fastlic.runtime.codec import Decoder, Encoder


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    bundle = tiny_student.bundle_bytes()
    with Decoder(bundle, threads=1) as decoder, Encoder(bundle, threads=1) as encoder:
        fastlic.register_opener(decoder, encoder)
        yield
    fastlic.register_opener()


@pytest.fixture
def pixels() -> np.ndarray:
    return tiny_student.picture(40, 70)


@pytest.fixture
def content(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "LIC")
    return stream.getvalue()


def expected(content: bytes) -> np.ndarray:
    with Decoder(tiny_student.bundle_bytes(), threads=1) as decoder:
        return decoder.decode(content)


def test_open_knows_size_and_mode_without_decoding(content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pillow._shared, "decode", lambda data: pytest.fail("decoded"))

    with Image.open(io.BytesIO(content)) as image:
        assert (image.format, image.size, image.mode) == ("LIC", (70, 40), "RGB")
        assert image.get_format_mimetype() == "image/x-lic"


def test_load_gives_the_decoders_pixels_and_once_only(content: bytes) -> None:
    with Image.open(io.BytesIO(content)) as image:
        image.load()
        image.load()
        assert (np.asarray(image) == expected(content)).all()


def test_path_is_opened_by_suffix_or_content_and_saved_by_suffix(tmp_path: Path, pixels: np.ndarray) -> None:
    path = tmp_path / "a.lic"
    Image.fromarray(pixels).save(path)
    other = path.rename(tmp_path / "a.unknown")

    with Image.open(other) as image:
        assert (np.asarray(image) == expected(other.read_bytes())).all()


def test_metadata_travels_both_ways(pixels: np.ndarray) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "LIC", icc_profile=b"profile", exif=exif, xmp="<x/>")

    with Image.open(stream) as image:
        again = io.BytesIO()
        image.save(again, "LIC")
        assert image.getexif()[0x0112] == 6
    with Image.open(again) as image:
        assert (image.info["icc_profile"], image.info["xmp"]) == (b"profile", b"<x/>")
        assert image.getexif()[0x0112] == 6


def test_thumbnail_seek_and_tell_work(content: bytes) -> None:
    with Image.open(io.BytesIO(content)) as image:
        image.seek(0)
        assert image.tell() == 0
        with pytest.raises(EOFError):
            image.seek(1)
        image.thumbnail((35, 35))
        assert image.size == (35, 20)


def test_verify_and_copy_work(content: bytes) -> None:
    with Image.open(io.BytesIO(content)) as image:
        image.verify()
    with Image.open(io.BytesIO(content)) as image:
        copy = image.copy()
    assert copy.getpixel((0, 0)) == tuple(expected(content)[0, 0])


@pytest.mark.parametrize("mode", ["L", "1"])
def test_grey_is_saved_as_rgb(pixels: np.ndarray, mode: str) -> None:
    stream = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(stream, "LIC")

    assert Image.open(stream).mode == "RGB"


@pytest.mark.parametrize("mode", ["RGBA", "CMYK", "I;16", "P"])
def test_save_of_what_would_lose_something_raises(mode: str) -> None:
    with pytest.raises(OSError, match=f"cannot write mode {mode} as LIC"):
        Image.new(mode, (8, 8)).save(io.BytesIO(), "LIC")


def test_foreign_and_cut_headers_are_left_to_other_plugins(content: bytes, pixels: np.ndarray) -> None:
    png = io.BytesIO()
    Image.fromarray(pixels).save(png, "PNG")

    assert Image.open(png).format == "PNG"
    with pytest.raises(UnidentifiedImageError):
        Image.open(io.BytesIO(content[:20]))


@pytest.mark.parametrize("tolerant", [False, True])
def test_truncated_file_raises_even_when_pillow_is_tolerant(
    content: bytes, tolerant: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", tolerant)

    with Image.open(io.BytesIO(content[:-1])) as image, pytest.raises(OSError, match=r"needs \d+ bytes at offset"):
        image.load()


def test_damaged_header_raises_and_names_the_cause(content: bytes) -> None:
    damaged = bytearray(content)
    damaged[30] ^= 1

    with pytest.raises(OSError, match="checksum") as caught:
        Image.open(io.BytesIO(damaged))
    assert isinstance(caught.value.__cause__, CorruptedStream)


def test_threads_share_one_decoder(content: bytes) -> None:
    wanted, wrong = expected(content), []

    def work() -> None:
        for _ in range(5):
            with Image.open(io.BytesIO(content)) as image:
                if not (np.asarray(image) == wanted).all():
                    wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not wrong
