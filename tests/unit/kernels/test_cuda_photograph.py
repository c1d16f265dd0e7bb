"""A photograph, encoded by the shipped student on the CPU, decoded with the CUDA kernels in place of the reader."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from emulation.kernels import Decoding, Kernels
from PIL import Image

from fastlic.kernels import native
from fastlic.kernels.cuda import entropy_twins as twins
from fastlic.runtime import codec, decoding
from fastlic.runtime.bundle import shipped
from fastlic.runtime.entropy.passes import Pass
from fastlic.runtime.entropy.reader import NativeReader
from fastlic.runtime.entropy.tables import MixtureTables

PICTURE = Path(__file__).parents[2] / "data" / "kodim23.png"


class KernelReader(NativeReader):
    """Prepares and places mixture passes with the kernels; the native reader sees only their rows."""

    def __init__(self, streams: Sequence[bytes | memoryview], run: Kernels) -> None:
        super().__init__(streams, threads=2)
        self._run = run
        self.passes = 0

    def code(self, pass_: Pass) -> np.ndarray:
        """The packed values of a pass, int16 (C', h, w')."""
        if not isinstance(pass_.distribution, MixtureTables):
            return super().code(pass_)
        self.passes += 1
        done = Decoding(pass_, capacity=1 << 22).by_kernels(self._run)
        values = np.full(pass_.shape, -(1 << 15), np.int16)
        done.scatter(self._run, self.code_rows(done.rows, done.starts), twins.ALL, 0, values)
        return values


@pytest.mark.skipif(not native.available(), reason="the native module was not built")
def test_photograph_decoded_through_kernels_has_every_symbol(run: Kernels, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = np.asarray(Image.open(PICTURE))
    readers: list[KernelReader] = []

    def open_kernel_reader(streams: Sequence[bytes | memoryview], **_: object) -> KernelReader:
        readers.append(KernelReader(streams, run))
        return readers[-1]

    with codec.Encoder(shipped()[0], threads=1) as encoder, codec.Decoder(shipped()[0], threads=1) as decoder:
        data = encoder.encode(picture)
        expected = decoder.decode(data)
        monkeypatch.setattr(decoding, "open_reader", open_kernel_reader)
        decoded = decoder.decode(data)  # raises SymbolMismatch unless every symbol is the encoder's

    assert [reader.passes for reader in readers] == [2]
    np.testing.assert_array_equal(decoded, expected)
