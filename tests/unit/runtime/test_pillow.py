"""`.lic` in Pillow: the checklist of its own formats' tests, on the tiny student."""

from __future__ import annotations

import io
import pickle
import threading
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_student
from PIL import Image, ImageFile, UnidentifiedImageError

import fastlic
from fastlic.errors import CorruptedStream, RateUnavailable
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


def pickle_round_trip(image: Image.Image) -> Image.Image:
    again: Image.Image = pickle.loads(pickle.dumps(image))
    return again


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


def test_verify_checks_all_and_the_file_must_be_opened_again(content: bytes) -> None:
    image = Image.open(io.BytesIO(content))
    image.verify()

    with pytest.raises(ValueError, match="open it again"):
        image.load()
    for damaged in (content[:-1], content[:-4] + bytes(4)):
        with pytest.raises(OSError, match="transfer it again"):
            Image.open(io.BytesIO(damaged)).verify()


def test_load_after_close_says_so(content: bytes) -> None:
    image = Image.open(io.BytesIO(content))
    image.close()

    with pytest.raises(ValueError, match="was closed"):
        image.load()


def test_copy_works(content: bytes) -> None:
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


class Forward(io.RawIOBase):
    """A pipe's stand-in: reads and writes, in order only."""

    def __init__(self, content: bytes = b"") -> None:
        self.stream = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self.stream.read(size)

    def write(self, content: Any) -> int:
        return self.stream.write(content)

    def seek(self, *_: int) -> int:
        raise io.UnsupportedOperation("seek")


def test_files_that_cannot_seek_are_read_and_written(content: bytes, pixels: np.ndarray) -> None:
    written = Forward()
    Image.fromarray(pixels).save(written, "LIC")

    with Image.open(Forward(content)) as image:
        assert (np.asarray(image) == expected(content)).all()
    assert written.stream.getvalue() == content


def test_parser_fed_in_pieces_gives_the_picture(content: bytes) -> None:
    parser = ImageFile.Parser()
    for start in range(0, len(content), 50):
        parser.feed(content[start : start + 50])

    assert (np.asarray(parser.close()) == expected(content)).all()


def test_draft_changes_nothing(content: bytes) -> None:
    with Image.open(io.BytesIO(content)) as image:
        assert image.draft("L", (10, 10)) is None
        assert (image.size, image.mode) == ((70, 40), "RGB")


def test_damaged_picture_raises_at_each_load(content: bytes) -> None:
    with Image.open(io.BytesIO(content[:-4] + bytes(4))) as image:
        for _ in range(2):
            with pytest.raises(OSError, match="transfer it again"):
                image.load()


@pytest.mark.parametrize("way", [pickle_round_trip, deepcopy], ids=["pickle", "deepcopy"])
def test_opened_picture_can_be_copied_whole(content: bytes, way: Callable[[Image.Image], Image.Image]) -> None:
    with Image.open(io.BytesIO(content)) as image:
        again = way(image)

    assert (np.asarray(again) == expected(content)).all()


def test_metadata_is_replaced_or_left_out_by_save_options(pixels: np.ndarray) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    first, second, third = io.BytesIO(), io.BytesIO(), io.BytesIO()
    Image.fromarray(pixels).save(first, "LIC", icc_profile=b"profile", exif=exif.tobytes(), xmp=b"<x/>")
    with Image.open(first) as image:
        exif[0x0112] = 1
        image.save(second, "LIC", exif=exif, icc_profile=b"other")
        image.save(third, "LIC", exif=b"", icc_profile=None, xmp=None)

    with Image.open(second) as image:
        assert (image.getexif()[0x0112], image.info["icc_profile"]) == (1, b"other")
    with Image.open(third) as image:
        assert (dict(image.getexif()), image.info) == ({}, {})


@pytest.mark.parametrize("option", [{"exif": "text"}, {"icc_profile": 3}])
def test_metadata_of_another_type_raises(pixels: np.ndarray, option: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=f"{next(iter(option))} must be bytes, not (str|int)"):
        Image.fromarray(pixels).save(io.BytesIO(), "LIC", **option)


def test_save_passes_the_rate_on(pixels: np.ndarray) -> None:
    with pytest.raises(OSError, match="rate") as caught:
        Image.fromarray(pixels).save(io.BytesIO(), "LIC", rate=2)
    assert isinstance(caught.value.__cause__, RateUnavailable)


def test_refused_save_leaves_no_file(tmp_path: Path) -> None:
    for refused in (Image.new("CMYK", (8, 8)), Image.new("RGB", (0, 3))):
        with pytest.raises(OSError, match=r"LIC|image must be"):
            refused.save(tmp_path / "a.lic")
    assert list(tmp_path.iterdir()) == []


def test_imageio_reads_and_writes_through_pillow(tmp_path: Path, pixels: np.ndarray, content: bytes) -> None:
    imageio = pytest.importorskip("imageio.v3", reason="imageio is not installed")
    path = tmp_path / "a.lic"

    imageio.imwrite(path, pixels)

    assert path.read_bytes() == content
    assert (imageio.imread(path) == expected(content)).all()
    assert imageio.improps(path).shape == (40, 70, 3)
