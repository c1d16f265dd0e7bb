"""Whole files through the decode that stays on the device: equal to the decode on the host, whatever goes wrong."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import tiny_student
from emulation.cuda import EmulatedCuda
from PIL import Image

from fastlic.errors import (
    BundleError,
    CoderClosed,
    DeviceFailure,
    DeviceOutOfMemory,
    EngineUnavailable,
    FastlicError,
    KernelsUnavailable,
    TimedOut,
)
from fastlic.kernels import native
from fastlic.kernels.cuda import fatbins
from fastlic.runtime.codec import Decoder, Encoder
from fastlic.runtime.device import passes, student

GOLDEN = Path(__file__).parents[2] / "conformance" / "golden"
TINY = GOLDEN / "tiny.licb"
FILES = json.loads((GOLDEN / "golden.json").read_text())
Open = Callable[..., Decoder]

pytestmark = pytest.mark.skipif(not native.available(), reason="the native module was not built")


@pytest.fixture(scope="module")
def square() -> bytes:
    """A file of one tile with three streams."""
    return (GOLDEN / "tiny-square.lic").read_bytes()


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """What it decodes to."""
    return np.asarray(Image.open(GOLDEN / "tiny-square.png"))


@pytest.mark.parametrize("entry", FILES, ids=lambda entry: entry["file"])
def test_golden_file_decodes_to_its_symbols_and_picture(open_decoder: Open, entry: dict) -> None:
    """Symbols are checked against the file's checksums inside; twice, since the second time is captured."""
    bundle = None if entry["bundle"] is None else GOLDEN / entry["bundle"]
    decoder = open_decoder(bundle)
    data, expected = (GOLDEN / entry["file"]).read_bytes(), np.asarray(Image.open(GOLDEN / entry["picture"]))

    for _ in range(2):
        np.testing.assert_allclose(decoder.decode(data).astype(int), expected, atol=1)


@pytest.mark.parametrize(
    "engine", [{"capturable": False}, {"one_stream": True}, {"one_stream": True, "capturable": False}]
)
def test_any_kind_of_engine_gives_the_same(
    open_decoder: Open, square: bytes, picture: np.ndarray, engine: dict
) -> None:
    decoder = open_decoder(**engine)

    for _ in range(3):
        np.testing.assert_array_equal(decoder.decode(square), picture)


def test_reader_without_rows_gives_the_same(open_decoder: Open, square: bytes, picture: np.ndarray) -> None:
    """The constriction reader needs parameters, not rows: every pass is prepared on the host."""
    decoder = open_decoder(entropy="constriction")

    for _ in range(2):
        np.testing.assert_array_equal(decoder.decode(square), picture)


def test_rows_that_do_not_fit_get_more_room(cuda: EmulatedCuda, open_decoder: Open) -> None:
    data = (GOLDEN / "tiny-tiles.lic").read_bytes()
    expected = np.asarray(Image.open(GOLDEN / "tiny-tiles.png"))

    with mock.patch.object(passes, "ENTRIES_PER_ELEMENT", 0):
        decoder = open_decoder()
        for _ in range(2):
            np.testing.assert_array_equal(decoder.decode(data), expected)


def test_windows_of_a_large_picture_give_what_the_host_gives(open_decoder: Open) -> None:
    bundle = tiny_student.bundle_bytes()
    with Encoder(bundle, threads=1) as encoder, Decoder(bundle, threads=1) as host:
        data = encoder.encode(tiny_student.picture(150, 200))
        with mock.patch("fastlic.runtime.tiles.TARGET_EDGE", 64):
            np.testing.assert_array_equal(open_decoder(bundle).decode(data), host.decode(data))


def test_extreme_values_and_empty_channels_come_back(open_decoder: Open) -> None:
    """Escapes, and channels that the file does not code."""
    bundle = tiny_student.bundle_bytes()
    flat, noise = np.full((64, 64, 3), 128, np.uint8), np.random.default_rng(5).integers(0, 256, (64, 64, 3), np.uint8)
    with Encoder(bundle, threads=1) as encoder, Decoder(bundle, threads=1) as host:
        for image in (flat, noise):
            data = encoder.encode(image)
            np.testing.assert_array_equal(open_decoder(bundle).decode(data), host.decode(data))


def test_pictures_of_several_rates_share_a_workspace(open_decoder: Open) -> None:
    bundle, image = GOLDEN / "bgvae-small.licb", tiny_student.picture(64, 64)
    decoder = open_decoder(bundle)
    with Encoder(bundle, threads=1, ignore_pin=True) as encoder, Decoder(bundle, threads=1, ignore_pin=True) as host:
        for rate in (1, 3, 1):
            data = encoder.encode(image, rate=rate)
            np.testing.assert_allclose(decoder.decode(data).astype(int), host.decode(data), atol=1)


def test_work_is_captured_when_it_has_run_once(cuda: EmulatedCuda, open_decoder: Open, square: bytes) -> None:
    decoder = open_decoder()
    launches = []
    for _ in range(3):
        decoder.decode(square)
        launches.append(cuda.graphs_launched)

    assert launches[0] == 0
    assert launches[2] - launches[1] == launches[1] == 4  # cut where the host reads y twice; z needs no work before


def test_buffers_are_allocated_once_per_size(cuda: EmulatedCuda, open_decoder: Open, square: bytes) -> None:
    decoder = open_decoder()
    decoder.decode(square)
    allocated = cuda.allocated()

    with mock.patch.object(cuda, "allocate", side_effect=AssertionError("allocated again")):
        for _ in range(20):
            decoder.decode(square)

    assert cuda.allocated() == allocated


def test_many_decodes_good_and_bad_take_no_memory(cuda: EmulatedCuda, open_decoder: Open, square: bytes) -> None:
    """FASTLIC_DECODES says how many; docs/kernels.md has the outcome of a thousand."""
    decoder, pixel = open_decoder(), (GOLDEN / "tiny-pixel.lic").read_bytes()
    damaged = square[:-9] + bytes([square[-9] ^ 1]) + square[-8:]
    files, kept = [square, pixel, damaged], set()

    for number in range(int(os.environ.get("FASTLIC_DECODES", "60"))):
        try:
            decoder.decode(files[number % len(files)])
        except FastlicError:
            assert number % len(files) == 2
        if number >= 3 * len(files):  # run, captured, replayed
            kept.add((cuda.allocated(), len(cuda.live), len(cuda.graphs), len(cuda.streams)))

    assert len(kept) == 1


def test_workspaces_of_many_sizes_are_given_up(cuda: EmulatedCuda, open_decoder: Open) -> None:
    decoder = open_decoder()
    kept = []
    with Encoder(TINY, threads=1) as encoder:
        for width in (64, 128, 192, 256, 320, 384):
            decoder.decode(encoder.encode(tiny_student.picture(64, width)))
            kept.append(cuda.allocated())

    assert kept[-1] < sum(np.diff(kept[: student.IDLE_WORKSPACES])) * 3
    (space,) = {len(loaded._on_device._idle) for loaded in decoder._students.values()}  # type: ignore[union-attr]
    assert space == student.IDLE_WORKSPACES


def test_region_is_decoded_graph_by_graph(open_decoder: Open, square: bytes, picture: np.ndarray) -> None:
    region = open_decoder().decode(square, region=(10, 20, 50, 60))

    np.testing.assert_allclose(region.astype(int), picture[20:60, 10:50], atol=1)


def test_out_of_any_strides_is_written(open_decoder: Open, square: bytes, picture: np.ndarray) -> None:
    out = np.zeros((64, 3, 64), np.uint8).transpose(0, 2, 1)

    assert open_decoder().decode(square, out) is out
    np.testing.assert_array_equal(out, picture)


def test_timings_name_every_stage(open_decoder: Open, square: bytes) -> None:
    decoder, timings = open_decoder(), {}
    decoder.decode(square, timings=timings)

    reads = [f"{what} y {parity}" for parity in ("even", "odd") for what in ("rows", "code", "place")]
    assert {"parse", "upload", "code z all", "hyper", *reads, "context", "synthesis", "copy"} <= timings.keys()


def test_picture_left_on_the_device_is_the_callers_own(
    cuda: EmulatedCuda, open_decoder: Open, square: bytes, picture: np.ndarray
) -> None:
    decoder = open_decoder()
    first = decoder.decode_on_device(square)
    decoder.decode_on_device(square).close()

    assert first.__cuda_array_interface__["shape"] == (64, 64, 3)
    np.testing.assert_array_equal(first.numpy(), picture)


def test_picture_on_the_device_of_an_engine_without_one_is_refused(square: bytes) -> None:
    with (
        Decoder(TINY, engine="ort-cpu", threads=1) as decoder,
        pytest.raises(EngineUnavailable, match="ort-cpu has no"),
    ):
        decoder.decode_on_device(square)


def test_stream_keeps_order_and_may_be_left_early(open_decoder: Open, square: bytes, picture: np.ndarray) -> None:
    decoder, pixel = open_decoder(), (GOLDEN / "tiny-pixel.lic").read_bytes()

    found = [result.shape for result in decoder.decode_stream([square, pixel, square])]
    assert found == [(64, 64, 3), (1, 1, 3), (64, 64, 3)]
    stream = decoder.decode_stream([square] * 5)
    np.testing.assert_array_equal(next(stream), picture)
    stream.close()


def test_closing_waits_for_what_a_stream_has_begun(open_decoder: Open, square: bytes) -> None:
    """The synthesis of its next picture is enqueued, and uses what belongs to decoder and engine."""
    decoder = open_decoder()
    stream = decoder.decode_stream([square] * 3)
    next(stream)
    while decoder._students and not any(loaded._on_device._lent for loaded in decoder._students.values()):  # type: ignore[union-attr]
        time.sleep(0.01)

    decoder.close()

    with pytest.raises(CoderClosed):
        next(stream)


def test_latents_come_to_the_host_on_request(open_decoder: Open, square: bytes) -> None:
    with Decoder(TINY, threads=1) as host:
        expected, _ = host.decode_latents(square)
    found, _ = open_decoder().decode_latents(square)

    np.testing.assert_array_equal(found["y"], expected["y"])


# --- what goes wrong ------------------------------------------------------------------------------------------------


def test_damaged_streams_are_typed_and_the_next_file_decodes(
    open_decoder: Open, square: bytes, picture: np.ndarray
) -> None:
    decoder = open_decoder()
    rng, refused = np.random.default_rng(3), 0
    for _ in range(12):
        damaged = bytearray(square)
        damaged[int(rng.integers(len(square) - 200, len(square)))] ^= int(rng.integers(1, 256))
        try:
            decoder.decode(bytes(damaged))
        except FastlicError:
            refused += 1

    assert refused == 12
    np.testing.assert_array_equal(decoder.decode(square), picture)


def test_each_allocation_that_fails_is_typed_and_the_decoder_stays_usable(
    cuda: EmulatedCuda, open_decoder: Open, square: bytes, picture: np.ndarray
) -> None:
    decoder, failed = open_decoder(), 0
    for count in range(0, 200, 7):
        cuda.fail_allocation = count
        try:
            decoder.decode(square)
        except DeviceOutOfMemory:
            failed += 1
        else:
            break
    cuda.fail_allocation = None

    assert failed > 3
    np.testing.assert_array_equal(decoder.decode(square), picture)


def test_memory_that_others_pictures_keep_is_given_up_first(
    cuda: EmulatedCuda, open_decoder: Open, square: bytes, picture: np.ndarray
) -> None:
    decoder = open_decoder()
    with Encoder(TINY, threads=1) as encoder:
        decoder.decode(encoder.encode(tiny_student.picture(256, 256)))
    cuda.memory = cuda.allocated() + 1000  # not enough for another workspace beside the first

    np.testing.assert_array_equal(decoder.decode(square), picture)


def test_batch_returns_its_other_pictures_when_one_does_not_fit(
    cuda: EmulatedCuda, open_decoder: Open, square: bytes, picture: np.ndarray
) -> None:
    decoder = open_decoder()
    with Encoder(TINY, threads=1) as encoder:
        large = encoder.encode(tiny_student.picture(512, 512))
    decoder.decode(square)
    cuda.memory = 2 * cuda.allocated() + 100_000

    first, second, third = decoder.decode_batch([square, large, square], on_error="return")

    assert isinstance(second, DeviceOutOfMemory)
    np.testing.assert_array_equal(first, picture)
    np.testing.assert_array_equal(third, picture)


@pytest.mark.parametrize("count", [0, 3, 8])
def test_launch_that_fails_is_typed_and_leaves_nothing(
    cuda: EmulatedCuda, open_decoder: Open, square: bytes, count: int
) -> None:
    decoder = open_decoder()
    cuda.fail_launch = count

    with pytest.raises(DeviceFailure, match="unspecified launch failure"):
        decoder.decode(square)


def test_time_out_is_looked_at_before_every_pass(open_decoder: Open, square: bytes, picture: np.ndarray) -> None:
    decoder = open_decoder()

    with pytest.raises(TimedOut, match=r"tile\[0\], code z all"):
        decoder.decode(square, timeout=0)

    np.testing.assert_array_equal(decoder.decode(square), picture)


def test_missing_kernels_say_how_to_install_them(open_decoder: Open, square: bytes) -> None:
    decoder = open_decoder()

    with (
        mock.patch.object(fatbins, "missing", return_value=["gdn"]),
        mock.patch.object(fatbins, "load", side_effect=KernelsUnavailable("FASTLIC_CUDA_ARCHS")),
        pytest.raises(KernelsUnavailable, match="FASTLIC_CUDA_ARCHS"),
    ):
        decoder.decode(square)


def test_parameters_of_a_wrong_shape_are_a_bundle_error(open_decoder: Open, square: bytes) -> None:
    decoder = open_decoder()
    with (
        mock.patch.object(passes.MixtureTables, "parameter_count", 31),
        pytest.raises(BundleError, match="y even: para"),
    ):
        decoder.decode(square)
