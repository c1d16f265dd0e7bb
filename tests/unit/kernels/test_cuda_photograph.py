"""A photograph, encoded by the shipped student on the CPU, decoded with the CUDA kernels in place of the reader."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from emulation.kernels import Decoding, Kernels
from PIL import Image

from fastlic.kernels.cuda import entropy_twins as twins
from fastlic.runtime import codec
from fastlic.runtime.bundle import shipped
from fastlic.runtime.entropy.constriction_reader import ConstrictionReader
from fastlic.runtime.entropy.passes import Pass, share
from fastlic.runtime.entropy.range_coder import SymbolReader
from fastlic.runtime.entropy.tables import MixtureTables

PICTURE = Path(__file__).parents[2] / "data" / "kodim23.png"


class KernelReader:
    """A `StreamReader` whose mixture passes go through the kernels; range coding sees only their rows."""

    def __init__(self, streams: Sequence[bytes | memoryview], run: Kernels) -> None:
        self._run = run
        self._tables = ConstrictionReader(streams)
        self._streams: list[SymbolReader] = self._tables._streams  # streams run on through passes of both kinds
        self.passes = 0

    def code(self, pass_: Pass) -> np.ndarray:
        """The packed values of a pass, int16 (C', h, w')."""
        if not isinstance(pass_.distribution, MixtureTables):
            return self._tables.code(pass_)
        self.passes += 1
        done = Decoding(pass_, capacity=1 << 22).by_kernels(self._run)
        count = int(done.starts[-1])
        shares = [share(count, number, len(self._streams)) for number in range(len(self._streams))]
        parts = [
            done.symbols(stream, part.start, part.stop) for stream, part in zip(self._streams, shares, strict=True)
        ]
        values = np.full(pass_.shape, -(1 << 15), np.int16)
        done.scatter(self._run, np.concatenate(parts), twins.ALL, 0, values)
        return values

    def finish(self) -> None:
        """Check the ends of the streams."""
        self._tables.finish()


def test_photograph_decoded_through_kernels_has_every_symbol(run: Kernels, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = np.asarray(Image.open(PICTURE))
    readers: list[KernelReader] = []

    def open_kernel_reader(streams: Sequence[bytes | memoryview], **_: object) -> KernelReader:
        readers.append(KernelReader(streams, run))
        return readers[-1]

    with codec.Encoder(shipped()[0], threads=1) as encoder, codec.Decoder(shipped()[0], threads=1) as decoder:
        data = encoder.encode(picture)
        expected = decoder.decode(data)
        monkeypatch.setattr(codec, "open_reader", open_kernel_reader)
        decoded = decoder.decode(data)  # raises SymbolMismatch unless every symbol is the encoder's

    assert [reader.passes for reader in readers] == [2]
    np.testing.assert_array_equal(decoded, expected)
