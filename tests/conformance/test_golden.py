"""Golden files decode to what they always decoded to, and are written as they always were.

`make golden` makes them anew; golden.py says when that is right.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from conformance import golden
from conformance.golden import Golden
from conformance.plain_container import read_bundle
from conformance.plain_decoder import decode
from PIL import Image

from fastlic.kernels import native
from fastlic.runtime import bitstream, engines
from fastlic.runtime.bundle import Bundle, shipped
from fastlic.runtime.codec import Decoder
from fastlic.runtime.conformance import symbol_crcs
from fastlic.runtime.entropy.passes import Pass
from fastlic.runtime.entropy.writer import StreamWriter
from fastlic.runtime.limits import Limits
from fastlic.runtime.manifest import Code
from fastlic.runtime.schedule import code_tile, gather
from fastlic.runtime.student import Student

every_golden_file = pytest.mark.parametrize("entry", golden.listed(), ids=lambda entry: entry.file)


def test_every_shipped_student_has_golden_files() -> None:
    listed = {entry.fingerprint for entry in golden.listed()}
    for path in shipped():
        with Bundle(path) as bundle:
            assert bundle.fingerprint.hex() in listed, f"{path.name}: coded output changed; see golden.py"


@pytest.mark.parametrize("entropy", ["native", "constriction"])
@every_golden_file
def test_golden_file_decodes_to_the_listed_symbols_and_picture(entry: Golden, entropy: str) -> None:
    if entropy == "native" and not native.available():
        pytest.skip("the native module was not built")
    data = (golden.FOLDER / entry.file).read_bytes()
    expected = np.asarray(Image.open(golden.FOLDER / entry.picture)).astype(int)
    path = golden.bundle_of(entry)

    with Bundle(path) as bundle, Decoder(path, threads=1, entropy=entropy) as decoder:
        picture = decoder.decode(data).astype(int)
        assert list(symbol_crcs(data, bundle)) == list(entry.symbol_crc)

    assert picture.shape == expected.shape
    assert np.abs(picture - expected).max() <= 1, "pixels may differ by one level between machines, no more"


@every_golden_file
def test_golden_symbols_are_written_to_the_bytes_of_the_file(entry: Golden) -> None:
    """The plain decoder reads the symbols, the writer of today writes them again: nothing else may come out."""
    path, data = golden.bundle_of(entry), (golden.FOLDER / entry.file).read_bytes()
    manifest, entries = read_bundle(path.read_bytes())
    with Bundle(path) as bundle:
        student = Student(bundle, engines.create("ort-cpu", threads=1))
        header = bitstream.probe(data)
        grid = header.grid(bundle.manifest.multiple)
        tiles = bitstream.read_tiles(data, header, grid, student.mapped, Limits())
        read = decode(data, manifest, entries, lambda name, inputs: student.graphs[name](inputs))
        for box, tile, latents in zip(grid, tiles, read, strict=True):
            writer = StreamWriter()

            def write(
                step: Code,
                pass_: Pass,
                _: Mapping[str, np.ndarray],
                writer: StreamWriter = writer,
                latents: dict[str, np.ndarray] = latents,
            ) -> np.ndarray:
                return writer.code(pass_, gather(latents[step.latent], step))

            active = {name: latents[name].any(axis=(1, 2)) for name in student.mapped}
            code_tile(bundle.manifest, student.coding_steps, box, student.graphs, student.distributions, active, write)
            assert [bytes(stream) for stream in tile.streams] == writer.finish(len(tile.streams))
