"""`Decoder.decode_stream` and `decode_batch`: order, errors and looking ahead."""

from __future__ import annotations

import traceback
from collections.abc import Iterator

import numpy as np
import pytest
import tiny_student

from fastlic.errors import CoderClosed, CorruptedStream, FastlicError
from fastlic.runtime.codec import Decoder, Encoder


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder(tiny_student.bundle_bytes(), threads=1) as decoder:
        yield decoder


@pytest.fixture(scope="module")
def files() -> list[bytes]:
    """Four pictures of different heights."""
    with Encoder(tiny_student.bundle_bytes(), threads=1) as encoder:
        return [encoder.encode(tiny_student.picture(40 + 9 * number, 64)) for number in range(4)]


@pytest.fixture(scope="module")
def damaged(files: list[bytes]) -> list[bytes]:
    """The same, the second of them damaged in its stream."""
    broken = bytearray(files[1])
    broken[-1] ^= 0x40
    return [files[0], bytes(broken), *files[2:]]


@pytest.mark.parametrize("ahead", [0, 1, 3])
def test_stream_is_decode_of_each_in_order(decoder: Decoder, files: list[bytes], ahead: int) -> None:
    for decoded, data in zip(decoder.decode_stream(files, ahead=ahead), files, strict=True):
        assert isinstance(decoded, np.ndarray)
        np.testing.assert_array_equal(decoded, decoder.decode(data))


def test_stream_returns_errors_in_their_place(decoder: Decoder, damaged: list[bytes]) -> None:
    results = decoder.decode_batch(damaged, on_error="return")

    assert isinstance(results[1], FastlicError)
    for number in (0, 2, 3):
        np.testing.assert_array_equal(results[number], decoder.decode(damaged[number]))


def test_stream_raises_the_first_error_after_the_pictures_before_it(decoder: Decoder, damaged: list[bytes]) -> None:
    stream = decoder.decode_stream(damaged)

    assert isinstance(next(stream), np.ndarray)
    with pytest.raises(CorruptedStream):
        next(stream)
    assert list(stream) == []


def test_stream_returns_a_lack_of_memory_and_goes_on(
    decoder: Decoder, files: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def pixels(_: Decoder, decoding: object, whole=Decoder._pixels) -> np.ndarray:
        if decoding.shape[0] == 49:  # type: ignore[attr-defined]
            raise MemoryError
        return whole(decoder, decoding)  # type: ignore[arg-type]

    monkeypatch.setattr(Decoder, "_pixels", pixels)

    results = decoder.decode_batch(files, on_error="return")

    assert [type(result) for result in results] == [np.ndarray, MemoryError, np.ndarray, np.ndarray]


def test_returned_error_keeps_no_tensors_of_its_picture(decoder: Decoder, damaged: list[bytes]) -> None:
    error = decoder.decode_batch(damaged, on_error="return")[1]

    assert isinstance(error, FastlicError)
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    assert len(frames) > 3
    assert {frame.f_code.co_name for frame in frames if frame.f_locals} <= {"_stream"}  # which has the results


def test_stream_takes_files_only_so_far_ahead(decoder: Decoder, files: list[bytes]) -> None:
    taken: list[int] = []

    def source() -> Iterator[bytes]:
        for number, data in enumerate(files):
            taken.append(number)
            yield data

    stream = decoder.decode_stream(source())
    next(stream)

    assert taken == [0, 1]
    stream.close()  # type: ignore[attr-defined]
    assert taken == [0, 1]


def test_decoder_closed_in_the_middle_ends_the_stream_even_where_errors_are_returned(files: list[bytes]) -> None:
    decoder = Decoder(tiny_student.bundle_bytes(), threads=1)
    stream = decoder.decode_stream(files, on_error="return", ahead=0)
    next(stream)
    decoder.close()

    with pytest.raises(CoderClosed):
        next(stream)


@pytest.mark.parametrize("wrong", [{"on_error": "ignore"}, {"ahead": -1}])
def test_arguments_that_mean_nothing_are_refused_at_once(decoder: Decoder, wrong: dict) -> None:
    with pytest.raises(ValueError, match="must be"):
        decoder.decode_stream([], **wrong)
