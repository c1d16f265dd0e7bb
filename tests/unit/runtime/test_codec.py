"""Pictures through `Encoder` and `Decoder` with a student that needs no training."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tiny_student

from fastlic.errors import FingerprintMismatch, LimitExceeded, PictureError, StudentNotFound
from fastlic.kernels import native
from fastlic.runtime import bitstream
from fastlic.runtime import bundle as bundles
from fastlic.runtime.codec import Decoder, Encoder
from fastlic.runtime.limits import Limits

needs_native = pytest.mark.skipif(not native.available(), reason="the native module was not built")


@pytest.fixture(scope="module")
def encoder() -> Iterator[Encoder]:
    with Encoder(tiny_student.bundle_bytes(), threads=1) as encoder:
        yield encoder


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder(tiny_student.bundle_bytes(), threads=1) as decoder:
        yield decoder


@pytest.mark.parametrize("size", [(1, 1), (1, 65), (65, 1), (63, 64), (64, 64), (67, 130), (200, 3)])
def test_any_size_comes_back_as_the_top_left_of_the_padded_picture(
    encoder: Encoder, decoder: Decoder, size: tuple[int, int]
) -> None:
    image = tiny_student.picture(*size)
    padded = np.pad(image, ((0, -size[0] % 64), (0, -size[1] % 64), (0, 0)), mode="edge")

    decoded = decoder.decode(encoder.encode(image))

    assert decoded.dtype == np.uint8
    assert decoded.shape == image.shape
    np.testing.assert_array_equal(decoded, decoder.decode(encoder.encode(padded))[: size[0], : size[1]])


def test_transposed_view_encodes_like_its_copy(encoder: Encoder) -> None:
    view = tiny_student.picture(70, 90).transpose(1, 0, 2)[::-1]

    assert encoder.encode(view) == encoder.encode(view.copy())


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((8, 8, 3), np.float32),
        np.zeros((0, 8, 3), np.uint8),
    ],
    ids=["grey", "RGBA", "float", "empty"],
)
def test_encode_other_arrays_are_refused(encoder: Encoder, image: np.ndarray) -> None:
    with pytest.raises(PictureError, match=r"uint8 \(height, width, 3\)"):
        encoder.encode(image)


def test_out_is_filled_whatever_its_strides(encoder: Encoder, decoder: Decoder) -> None:
    data = encoder.encode(tiny_student.picture(70, 90))
    canvas = np.zeros((3, 200, 200), np.uint8)
    out = canvas.transpose(1, 2, 0)[10:80, 20:200:2]

    returned = decoder.decode(data, out)

    assert returned is out
    np.testing.assert_array_equal(out, decoder.decode(data))
    assert not canvas[:, :10].any()


@pytest.mark.parametrize("out", [np.zeros((70, 91, 3), np.uint8), np.zeros((70, 90, 3), np.int16)])
def test_out_of_another_shape_or_type_is_refused(encoder: Encoder, decoder: Decoder, out: np.ndarray) -> None:
    data = encoder.encode(tiny_student.picture(70, 90))

    with pytest.raises(ValueError, match=r"out must be uint8 \(70, 90, 3\)"):
        decoder.decode(data, out)


def test_decode_batch_is_decode_of_each(encoder: Encoder, decoder: Decoder) -> None:
    files = [encoder.encode(tiny_student.picture(50 + 9 * n, 64)) for n in range(3)]

    for decoded, data in zip(decoder.decode_batch(files), files, strict=True):
        np.testing.assert_array_equal(decoded, decoder.decode(data))


def test_decode_reads_any_buffer(encoder: Encoder, decoder: Decoder) -> None:
    data = encoder.encode(tiny_student.picture(64, 64))

    for view in (bytearray(data), memoryview(data)):
        np.testing.assert_array_equal(decoder.decode(view), decoder.decode(data))


def test_windows_of_synthesis_differ_by_at_most_one_level(
    encoder: Encoder, decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = encoder.encode(tiny_student.picture(300, 500))
    whole = decoder.decode(data).astype(int)

    monkeypatch.setattr("fastlic.runtime.tiles.TARGET_EDGE", 128)

    assert np.abs(decoder.decode(data) - whole).max() <= 1


def test_tiles_without_skipping_give_the_symbols_of_one_tile(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skipped elements follow the parameters, which follow the tile; all others are the picture's own."""
    parts = tiny_student.parts()
    for distribution in parts.manifest["distributions"].values():
        if distribution["kind"] == "mixture":
            distribution["skip_threshold"] = 65536
    image = tiny_student.picture(300, 500)
    with Encoder(parts.pack(), threads=1) as encoder, Decoder(parts.pack(), threads=1) as decoder:
        whole = encoder.encode(image)
        # Windows of the analysis may round a latent the other way, so only the entropy tiles are cut.
        monkeypatch.setattr("fastlic.runtime.codec.TileGrid.choose", _small_tiles)
        tiled = encoder.encode(image)

        assert bitstream.probe(whole).tile_width == 8
        assert bitstream.probe(tiled).tile_width == 3
        np.testing.assert_array_equal(decoder.decode_latents(tiled)[0]["y"], decoder.decode_latents(whole)[0]["y"])
        np.testing.assert_array_equal(decoder.decode(tiled), decoder.decode(whole))


def _small_tiles(width: int, height: int, multiple: int) -> object:
    from fastlic.runtime.tiles import TileGrid

    return TileGrid(width, height, multiple, 3 * multiple, 2 * multiple)


@needs_native
@pytest.mark.parametrize("stream_count", [1, 5, 64])
def test_both_readers_give_equal_symbols(encoder: Encoder, stream_count: int) -> None:
    data = encoder.encode(tiny_student.picture(130, 200), stream_count=stream_count)
    found = []
    for entropy in ("native", "constriction"):
        with Decoder(tiny_student.bundle_bytes(), threads=2, entropy=entropy) as decoder:
            found.append(decoder.decode_latents(data)[0]["y"])

    np.testing.assert_array_equal(*found)


def test_stream_count_changes_no_symbol(encoder: Encoder, decoder: Decoder) -> None:
    image = tiny_student.picture(130, 200)
    one, many = (decoder.decode_latents(encoder.encode(image, stream_count=n))[0]["y"] for n in (1, 9))

    np.testing.assert_array_equal(one, many)


def test_metadata_comes_back(encoder: Encoder, decoder: Decoder) -> None:
    metadata = {"icc": b"profile", "exif": b"Exif\0\0MM", "xmp": b"<x/>"}
    image = tiny_student.picture(64, 64)

    data = encoder.encode(image, metadata=metadata)

    assert bitstream.read_metadata(data, bitstream.probe(data), Limits()) == metadata
    np.testing.assert_array_equal(decoder.decode(data), decoder.decode(encoder.encode(image)))


def test_one_decoder_serves_many_threads(encoder: Encoder, decoder: Decoder) -> None:
    files = [encoder.encode(tiny_student.picture(60 + 30 * n, 80, seed=n)) for n in range(4)]
    expected = [decoder.decode(data) for data in files]

    with ThreadPoolExecutor(8) as pool:
        decoded = list(pool.map(decoder.decode, files * 10))

    for number, picture in enumerate(decoded):
        np.testing.assert_array_equal(picture, expected[number % 4])


def test_fresh_coders_serve_many_threads_from_the_first_call() -> None:
    """Graphs are loaded by whoever comes first."""
    image = tiny_student.picture(64, 64)
    with Encoder(tiny_student.bundle_bytes(), threads=1) as encoder, ThreadPoolExecutor(8) as pool:
        files = set(pool.map(encoder.encode, [image] * 16))

    assert len(files) == 1


def test_file_of_another_bundle_is_refused(decoder: Decoder) -> None:
    with Encoder(tiny_student.bundle_bytes(seed=2), threads=1) as other:
        data = other.encode(tiny_student.picture(64, 64))

    with pytest.raises(FingerprintMismatch, match=r"not with tiny-1 .*Name the right bundle"):
        decoder.decode(data)


def test_decoder_without_a_bundle_takes_the_student_that_wrote_the_file(
    encoder: Encoder, decoder: Decoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in (1, 2):
        (tmp_path / f"{seed}.licb").write_bytes(tiny_student.bundle_bytes(seed))
    monkeypatch.setattr(bundles, "shipped", lambda: sorted(tmp_path.glob("*.licb"), reverse=True))
    data = encoder.encode(tiny_student.picture(64, 64))

    with Decoder(threads=1) as finder:
        np.testing.assert_array_equal(finder.decode(data), decoder.decode(data))


def test_coders_without_any_student_say_so(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    image = tiny_student.picture(64, 64)
    data = encoder.encode(image)
    monkeypatch.setattr(bundles, "shipped", list)

    with Decoder(threads=1) as decoder, pytest.raises(StudentNotFound, match="installed: none"):
        decoder.decode(data)
    with Encoder(threads=1) as lost, pytest.raises(StudentNotFound, match="no student was shipped"):
        lost.encode(image)


def test_bundle_without_an_encoder_decodes_and_refuses_to_encode(encoder: Encoder, decoder: Decoder) -> None:
    parts = tiny_student.parts()
    del parts.manifest["analysis"]
    for name in ("analysis", "hyper_analysis"):
        del parts.manifest["graphs"][name], parts.members[f"graphs/{name}.onnx"]
    data = encoder.encode(tiny_student.picture(64, 64))

    with Decoder(parts.pack(), threads=1) as small:
        np.testing.assert_array_equal(small.decode(data), decoder.decode(data))
    with Encoder(parts.pack(), threads=1) as refusing, pytest.raises(PictureError, match="without an encoder"):
        refusing.encode(tiny_student.picture(64, 64))


def test_encode_beyond_the_limit_is_refused_before_any_work() -> None:
    image = np.broadcast_to(np.uint8(0), (10**6, 10**6, 3))

    with (
        Encoder(tiny_student.bundle_bytes(), threads=1) as encoder,
        pytest.raises(LimitExceeded, match=r"pixels: 10000\d+ exceeds the limit of 256000000"),
    ):
        encoder.encode(image)


def test_timings_name_every_stage_of_a_decode(encoder: Encoder, decoder: Decoder) -> None:
    data = encoder.encode(tiny_student.picture(64, 64))
    timings: dict[str, float] = {}

    decoder.decode(data, timings=timings)

    assert {"parse", "code z all", "hyper", "code y even", "context", "code y odd", "synthesis"} <= timings.keys()
    assert all(seconds > 0 for seconds in timings.values())


def test_engine_info_names_engine_and_threads(decoder: Decoder) -> None:
    info = decoder.engine_info

    assert info.name == "ort-cpu"
    assert info.threads == 1


def test_missing_native_reader_warns_and_decodes_with_constriction(
    encoder: Encoder, decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = encoder.encode(tiny_student.picture(64, 64))
    expected = decoder.decode(data)
    monkeypatch.setattr(native, "available", lambda: False)

    with pytest.warns(RuntimeWarning, match=r"was not built.*C\+\+"):
        slow = Decoder(tiny_student.bundle_bytes(), threads=1)
    with slow:
        np.testing.assert_array_equal(slow.decode(data), expected)


def test_unknown_entropy_reader_is_refused() -> None:
    with pytest.raises(ValueError, match="auto, native or constriction, not 'magic'"):
        Decoder(tiny_student.bundle_bytes(), threads=1, entropy="magic")
