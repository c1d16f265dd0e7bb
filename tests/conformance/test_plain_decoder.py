"""The fast decoders against the plain one, which was written from docs/format.md alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tiny_student
from conformance.plain_container import Refused, fingerprint_of, read_bundle, read_file
from conformance.plain_decoder import Evaluate, Mixture, RangeDecoder, Table, decode, decode_pass
from random_passes import random_pass

from fastlic.errors import CorruptedStream
from fastlic.kernels import native
from fastlic.runtime import engines
from fastlic.runtime.bundle import Bundle, shipped
from fastlic.runtime.codec import Decoder, Encoder
from fastlic.runtime.entropy.passes import Pass
from fastlic.runtime.entropy.reader import Backend, open_reader
from fastlic.runtime.entropy.tables import RowTables
from fastlic.runtime.entropy.writer import StreamWriter

READERS: tuple[Backend, ...] = ("native", "constriction") if native.available() else ("constriction",)


def plain_values(pass_: Pass, streams: list[RangeDecoder]) -> np.ndarray:
    """The pass as the plain decoder reads it, int16 (C', h, w')."""
    tables = pass_.distribution
    plain: Table | Mixture
    if isinstance(tables, RowTables):
        plain = Table(tables.cdf.tolist(), tables.window.tolist(), tables.low.tolist())
    else:
        names = ("exponential", "thresholds", "inverse_scale", "tail", "half_cdf")
        lists = (getattr(tables, name).tolist() for name in names)
        plain = Mixture(len(tables.families), tables.components, tables.skip_threshold, *lists)
    windows = {
        (c, r, j): plain.window(c, None if pass_.parameters is None else pass_.parameters[r, j, c].tolist())
        for c, r, j in np.ndindex(pass_.shape)
        if pass_.active is None or pass_.active[c]
    }
    values = np.zeros(pass_.shape, np.int16)
    for element, value in decode_pass(streams, windows, plain.skip_threshold).items():
        values[element] = value
    return values


@pytest.mark.parametrize("seed", range(40))
def test_random_passes_all_readers_agree_with_the_plain_one(seed: int) -> None:
    passes = [random_pass(3 * seed + number) for number in range(3)]
    writer = StreamWriter()
    written = [writer.code(pass_, values) for pass_, values in passes]
    data = writer.finish((1, 2, 3, 7, 64)[seed % 5])

    streams = [RangeDecoder(stream) for stream in data]
    plain = [plain_values(pass_, streams) for pass_, _ in passes]
    for stream in streams:
        stream.check_end()

    for expected, got in zip(written, plain, strict=True):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("backend", READERS)
@pytest.mark.parametrize("seed", range(40))
def test_random_words_give_the_symbols_and_the_verdict_of_the_plain_decoder(seed: int, backend: str) -> None:
    pass_, _ = random_pass(seed)
    rng = np.random.default_rng(seed)
    data = rng.integers(0, 256, 4 * int(rng.integers(0, 9)), np.uint8).tobytes()

    assert_same_outcome(fast_outcome(pass_, data, backend), plain_outcome(pass_, data))


def test_bit_flips_of_a_stream_give_the_symbols_and_the_verdict_of_the_plain_decoder() -> None:
    """Above all in the last words: a seal check that misses one form would accept a file that no writer wrote."""
    pass_, values = next((p, v) for p, v in map(random_pass, range(200)) if p.active is None and 20 < v.size < 40)
    writer = StreamWriter()
    writer.code(pass_, values)
    (data,) = writer.finish(1)
    assert len(data) >= 16
    damaged = [data[:-4], data + bytes(4)]
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        damaged.append(bytes(flipped))

    for words in damaged:
        expected = plain_outcome(pass_, words)
        for backend in READERS:
            assert_same_outcome(fast_outcome(pass_, words, backend), expected)
    assert plain_outcome(pass_, data)[1] == "accepted"


def assert_same_outcome(fast: tuple[list[int], str], plain: tuple[list[int], str]) -> None:
    """The same verdict; the same symbols, unless the fast reader refused before it had them all."""
    assert fast[1] == plain[1]
    assert fast[0] == plain[0] or (not fast[0] and fast[1] == "refused")


def plain_outcome(pass_: Pass, data: bytes) -> tuple[list[int], str]:
    stream = RangeDecoder(data)
    return outcome(lambda: plain_values(pass_, [stream]), stream.check_end)


def fast_outcome(pass_: Pass, data: bytes, backend: Backend) -> tuple[list[int], str]:
    reader = open_reader([data], backend=backend)
    return outcome(lambda: reader.code(pass_), reader.finish)


def outcome(code: Callable[[], np.ndarray], finish: Callable[[], None]) -> tuple[list[int], str]:
    """The symbols (none if a rule broke on the way), and whether the stream was accepted at its end."""
    symbols: list[int] = []
    try:
        symbols = code().ravel().tolist()
        finish()
    except (Refused, CorruptedStream):
        return symbols, "refused"
    return symbols, "accepted"


def evaluate_with(bundle: Bundle) -> Evaluate:
    """The bundle's graphs in ONNX Runtime, as the plain decoder calls them."""
    engine = engines.create("ort-cpu", threads=1)
    graphs = {
        name: engine.load(bundle.member(spec.file), name, spec.exact)
        for name, spec in bundle.manifest.graphs.items()
        if spec.exact
    }
    return lambda name, inputs: graphs[name](inputs)


def assert_plain_decoder_agrees(bundle_data: bytes, image: np.ndarray, stream_count: int) -> None:
    """Encode; then decode twice, and compare header fields, metadata and every symbol."""
    manifest, entries = read_bundle(bundle_data)
    with Bundle(bundle_data) as bundle, Encoder(bundle_data, threads=1) as encoder:
        assert fingerprint_of(manifest) == bundle.fingerprint
        data = encoder.encode(image, metadata={"exif": b"Exif\0\0"}, stream_count=stream_count)
        tiles = list(decode(data, manifest, entries, evaluate_with(bundle)))
    parsed = read_file(data, manifest)
    assert (parsed.height, parsed.width) == image.shape[:2]
    assert parsed.metadata == {2: b"Exif\0\0"}
    for entropy in READERS:
        with Decoder(bundle_data, threads=1, entropy=entropy) as decoder:
            fast, grid = decoder.decode_latents(data)
        for box, tile in zip(grid, tiles, strict=True):
            rows, columns = box.scaled(16).slices
            np.testing.assert_array_equal(fast["y"][:, rows, columns], tile["y"])


@pytest.mark.parametrize(("height", "width"), [(64, 64), (1, 1), (70, 200)])
def test_tiny_student_plain_decoder_reads_the_same_symbols(height: int, width: int) -> None:
    image = tiny_student.picture(height, width)

    assert_plain_decoder_agrees(tiny_student.bundle_bytes(), image, stream_count=3)


def test_tiny_student_several_tiles_plain_decoder_reads_the_same_symbols(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastlic.runtime.tiles.TARGET_EDGE", 64)

    assert_plain_decoder_agrees(tiny_student.bundle_bytes(), tiny_student.picture(100, 150), stream_count=2)


@pytest.mark.parametrize(("top", "left", "height", "width"), [(200, 300, 64, 64), (100, 500, 64, 128)])
@pytest.mark.parametrize("path", shipped(), ids=lambda path: path.stem)
def test_shipped_student_plain_decoder_reads_the_same_symbols(
    path: Path, kodim23: np.ndarray, top: int, left: int, height: int, width: int
) -> None:
    crop = kodim23[top : top + height, left : left + width]

    assert_plain_decoder_agrees(path.read_bytes(), crop, stream_count=2)
