"""constriction driven with integers: exactly the frequencies given, whatever the number of slots."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import constriction
import numpy as np
import pytest
import tiny_student
from hypothesis import given
from hypothesis import strategies as st

from fastlic.errors import CorruptedStream
from fastlic.kernels import native
from fastlic.runtime.codec import Encoder
from fastlic.runtime.entropy.range_coder import SymbolReader, SymbolWriter


def random_rows(rng: np.random.Generator, count: int, width: int) -> np.ndarray:
    """int64 (count, width + 1) cumulative frequencies, some slots of frequency 1 and some likely ones."""
    cdf = np.full((count, width + 1), 65536, np.int64)
    cdf[:, 0] = 0
    for row in cdf:
        bound = rng.choice([width, 65536])
        row[1:width] = 1 + np.sort(rng.choice(bound - 1, width - 1, replace=False))
    return cdf


@given(st.integers(0, 2**32 - 1), st.sampled_from([8, 16, 64, 512]))
def test_write_three_entries_give_the_bytes_of_full_rows(seed: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    cdf = random_rows(rng, 40, width)
    slots = rng.choice([0, 1, width // 2, width - 2, width - 1], 40)
    each = np.arange(40)

    writer = SymbolWriter()
    writer.write(cdf[each, slots], cdf[each, slots + 1] - cdf[each, slots])
    plain = constriction.stream.queue.RangeEncoder()
    family = constriction.stream.model.Categorical(perfect=False)
    plain.encode(slots.astype(np.int32), family, np.diff(cdf, axis=1) * 256 - 1.0)

    data = writer.finish()
    assert data == plain.get_compressed().astype("<u4").tobytes()
    reader = SymbolReader(data)
    np.testing.assert_array_equal(reader.read(cdf), slots)
    reader.finish()


@given(st.lists(st.integers(0, 65534), min_size=1, max_size=20))
def test_excess_any_values_are_read_back_at_two_bits_a_digit(values: list[int]) -> None:
    writer = SymbolWriter()
    for value in values:
        writer.write_excess(value)
    data = writer.finish()

    reader = SymbolReader(data)
    assert [reader.read_excess() for _ in values] == values
    reader.finish()
    bits = sum(2 * (value + 1).bit_length() - 1 for value in values)
    assert bits <= 8 * len(data) <= bits + 64


def test_read_excess_sixteen_zeros_raises() -> None:
    reader = SymbolReader(bytes(8))

    with pytest.raises(CorruptedStream, match="16 digits"):
        reader.read_excess()


def test_finish_before_the_last_symbol_raises() -> None:
    writer = SymbolWriter()
    for value in (1000, 2000, 3000):
        writer.write_excess(value)
    reader = SymbolReader(writer.finish())
    reader.read_excess()

    with pytest.raises(CorruptedStream, match="does not end"):
        reader.finish()


@pytest.mark.skipif(not native.available(), reason="without the native module constriction is what decodes")
def test_without_constriction_files_decode_and_what_needs_it_says_what_to_do(tmp_path: Path) -> None:
    bundle, file = tmp_path / "tiny.licb", tmp_path / "tiny.lic"
    bundle.write_bytes(tiny_student.bundle_bytes())
    with Encoder(bundle, threads=1) as encoder:
        file.write_bytes(encoder.encode(tiny_student.picture(64, 64)))
    script = f"""
import sys
sys.modules["constriction"] = None  # as if it were not installed
import numpy as np
import fastlic
from fastlic.kernels import native
from fastlic.runtime import conformance
data = open({str(file)!r}, "rb").read()
with fastlic.Decoder({str(bundle)!r}, threads=1) as decoder:
    print(decoder.decode(data).shape)
print(conformance.ways("ort-cpu"))
def encode():
    with fastlic.Encoder({str(bundle)!r}, threads=1) as encoder:
        encoder.encode(np.zeros((64, 64, 3), np.uint8))
def read():
    native.available = lambda: False
    fastlic.Decoder({str(bundle)!r}, threads=1)
for attempt in (encode, read):
    try:
        attempt()
    except fastlic.errors.DependencyMissing as error:
        print(error)
"""

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)

    assert done.returncode == 0, done.stderr
    shape, ways, *refusals = done.stdout.splitlines()
    assert (shape, ways) == ("(64, 64, 3)", "[('ort-cpu', 'native')]")
    assert len(refusals) == 2
    assert all("pip install constriction" in refusal for refusal in refusals)
