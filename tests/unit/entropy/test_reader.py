"""Native and constriction reader against the writer: the same symbols, the same refusals."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastlic.errors import BundleError, CorruptedStream, EngineUnavailable
from fastlic.kernels import native
from fastlic.runtime.entropy.passes import Pass
from fastlic.runtime.entropy.reader import Backend, open_reader
from fastlic.runtime.entropy.writer import StreamWriter

PassOf = Callable[[int], tuple[Pass, np.ndarray]]
BACKENDS: tuple[Backend, ...] = ("native", "constriction")
seeds = st.integers(0, 2**32 - 1)


def write(passes: list[tuple[Pass, np.ndarray]], streams: int | None) -> tuple[list[bytes], list[np.ndarray]]:
    writer = StreamWriter()
    seen = [writer.code(pass_, values) for pass_, values in passes]
    return writer.finish(streams), seen


def read(streams: list[bytes], passes: list[Pass], backend: Backend, threads: int = 1) -> list[np.ndarray]:
    reader = open_reader(streams, backend=backend, threads=threads)
    values = [reader.code(pass_) for pass_ in passes]
    reader.finish()
    return values


@pytest.mark.usefixtures("built")
@given(st.lists(seeds, max_size=4), st.integers(1, 64), st.integers(1, 3))
@settings(max_examples=150, deadline=None)
def test_readers_any_passes_and_streams_give_what_the_writer_saw(
    pass_of: PassOf, chosen: list[int], streams: int, threads: int
) -> None:
    passes = [pass_of(seed) for seed in chosen]
    data, seen = write(passes, streams)

    for backend in BACKENDS:
        values = read(data, [pass_ for pass_, _ in passes], backend, threads)

        assert len(values) == len(seen)
        for got, expected in zip(values, seen, strict=True):
            assert got.dtype == np.int16
            np.testing.assert_array_equal(got, expected)


@pytest.mark.usefixtures("built")
@given(seeds, seeds, st.integers(1, 4), st.data())
@settings(max_examples=150, deadline=None)
def test_readers_damaged_words_agree_on_symbols_or_both_refuse(
    pass_of: PassOf, first: int, second: int, streams: int, data: st.DataObject
) -> None:
    passes = [pass_of(first), pass_of(second)]
    written, _ = write(passes, streams)
    victim = data.draw(st.integers(0, streams - 1))
    damaged = bytearray(written[victim])
    for at in data.draw(st.lists(st.integers(0, max(0, len(damaged) - 1)), min_size=1, max_size=3)):
        if damaged:
            damaged[at] ^= data.draw(st.integers(1, 255))
    del damaged[4 * data.draw(st.integers(0, len(damaged) // 4)) :]
    damaged += bytes(4 * data.draw(st.integers(0, 2)))
    hurt = [*written[:victim], bytes(damaged), *written[victim + 1 :]]

    outcomes, blamed = [], []
    for backend in BACKENDS:
        try:
            outcomes.append([values.tolist() for values in read(hurt, [pass_ for pass_, _ in passes], backend)])
        except CorruptedStream as error:
            outcomes.append(None)
            blamed.append(str(error))

    assert outcomes[0] == outcomes[1]
    assert all(f"stream {victim}" in message for message in blamed)
    assert hurt == written or outcomes[0] is None or outcomes[0] != [values.tolist() for _, values in passes]


@pytest.mark.usefixtures("built")
@given(st.binary(max_size=80).map(lambda data: data[: len(data) // 4 * 4]), seeds)
@settings(max_examples=200, deadline=None)
def test_readers_foreign_words_agree_on_symbols_or_both_refuse(pass_of: PassOf, words: bytes, seed: int) -> None:
    pass_, _ = pass_of(seed)

    outcomes = []
    for backend in BACKENDS:
        try:
            outcomes.append([values.tolist() for values in read([words], [pass_], backend)])
        except CorruptedStream:
            outcomes.append(None)

    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("backend", BACKENDS)
def test_finish_bit_of_the_last_words_flipped_raises_or_gives_other_symbols(
    backend: Backend, plain_pass: tuple[Pass, np.ndarray], built: None
) -> None:
    pass_ = plain_pass[0]
    (stream,), (seen,) = write([plain_pass], 1)
    detected = 0
    for bit in range(8 * len(stream) - 96, 8 * len(stream)):
        flipped = bytearray(stream)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            (got,) = read([bytes(flipped)], [pass_], backend)
        except CorruptedStream:
            detected += 1
        else:  # the bit belonged to symbols: then these are others, and the stream is their only form
            assert not np.array_equal(got, seen)
            assert write([(pass_, got)], 1)[0] == [bytes(flipped)]

    assert detected >= 64


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "change", [lambda s: s[:-4], lambda s: s + bytes(4), lambda s: b""], ids=["last", "zero", "all"]
)
def test_finish_missing_or_extra_words_raises(
    backend: Backend, change: Callable[[bytes], bytes], plain_pass: tuple[Pass, np.ndarray], built: None
) -> None:
    (stream,), _ = write([plain_pass], 1)

    with pytest.raises(CorruptedStream, match="stream 0"):
        read([change(stream)], [plain_pass[0]], backend)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("words", [0, 1, 3])
def test_code_pass_that_needs_more_words_than_there_are_raises_before_the_end(
    backend: Backend, words: int, plain_pass: tuple[Pass, np.ndarray], built: None
) -> None:
    """A stream that is used up is refused there: a large tile need not be read to its end."""
    (stream,), _ = write([plain_pass], 1)

    with pytest.raises(CorruptedStream, match="stream 0: it ends before its symbols do"):
        open_reader([stream[: 4 * words]], backend=backend).code(plain_pass[0])


@pytest.mark.parametrize("backend", BACKENDS)
def test_finish_words_without_symbols_raises(backend: Backend, built: None) -> None:
    with pytest.raises(CorruptedStream, match="stream 1"):
        read([b"", bytes(4)], [], backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_code_stream_of_outer_slots_and_zeros_raises(backend: Backend, rows_of: Callable, built: None) -> None:
    """All words 0: each element is in slot 0, and its excess would begin with zeros without end."""
    pass_ = Pass(rows_of(np.random.default_rng(1), 1), None, (1, 4, 4))

    with pytest.raises(CorruptedStream, match="16 digits"):
        read([bytes(64)], [pass_], backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_code_row_beyond_the_table_raises(backend: Backend, rows_of: Callable, built: None) -> None:
    rows = np.full((2, 2, 1), 3, np.int16)
    pass_ = Pass(rows_of(np.random.default_rng(1), 3), rows, (1, 2, 2))

    with pytest.raises(BundleError, match="3"):
        open_reader([b""], backend=backend).code(pass_)


def test_code_after_a_failure_raises_again(plain_pass: tuple[Pass, np.ndarray], built: None) -> None:
    reader = open_reader([b"\xff" * 64], backend="native")
    with pytest.raises(CorruptedStream, match="quantile"):
        reader.code(plain_pass[0])

    with pytest.raises(CorruptedStream, match="before"):
        reader.code(plain_pass[0])
    with pytest.raises(CorruptedStream, match="before"):
        reader.finish()


@pytest.mark.parametrize("streams", [[], [b""] * 65])
def test_open_reader_stream_count_out_of_range_raises(streams: list[bytes]) -> None:
    with pytest.raises(CorruptedStream, match="1 to 64"):
        open_reader(streams, backend="constriction")


def test_open_reader_partial_word_raises_and_names_the_stream() -> None:
    with pytest.raises(CorruptedStream, match="stream 1: 7 bytes"):
        open_reader([b"", b"1234567"], backend="constriction")


def test_open_reader_unknown_backend_raises() -> None:
    with pytest.raises(ValueError, match="neither"):
        open_reader([b""], backend="auto")  # type: ignore[arg-type]


def test_open_reader_native_not_built_raises_and_says_how(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "_load", lambda: (None, "No module named 'fastlic.kernels._native'"))

    assert not native.available()
    with pytest.raises(EngineUnavailable, match=r"No module named .*FASTLIC_REQUIRE_NATIVE=1 pip install"):
        open_reader([b""], backend="native")


def test_open_reader_memoryviews_are_read_as_bytes(plain_pass: tuple[Pass, np.ndarray], built: None) -> None:
    data, seen = write([plain_pass], 3)
    whole = memoryview(b"x" + b"".join(data))
    ends = np.cumsum([1] + [len(stream) for stream in data]).tolist()
    views = [whole[a:b] for a, b in itertools.pairwise(ends)]

    for backend in BACKENDS:
        reader = open_reader(views, backend=backend)
        np.testing.assert_array_equal(reader.code(plain_pass[0]), seen[0])
        reader.finish()
