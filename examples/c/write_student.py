"""Write what examples/c/decode_symbols.c needs to decode one file: `write_student.py FILE.lic OUT [STUDENT.licb]`.

An application in C or C++ reads the bundle itself, a zip of JSON, `.npy` tables and ONNX graphs, and runs the graphs in
its own engine. The example leaves both out: this script lays the bundle's tables out as plain arrays (OUT/student.bin),
and records what the exact graphs give for this file (OUT/outputs.bin).

All numbers are u32, arrays a u32 length and their elements, everything little endian:

    student.bin   fingerprint (8 bytes), multiple, rates,
                  latents: count, then each channels, stride, mapped (0 or 1), in order of first coding
                  distributions: count, then each kind (0 table, 1 mixture) and
                      table: cdf, window, low
                      mixture: families, components, skip_threshold, exponential, thresholds, inverse_scale, tail,
                          half_cdf
                  passes: count, then each latent, distribution, first, end, parity (0 all, 1 even, 2 odd),
                      has_parameters
    outputs.bin   the parameters of each pass that has some, int16, tile by tile
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import numpy as np

from fastlic.runtime import bitstream, engines
from fastlic.runtime import bundle as bundles
from fastlic.runtime.bundle import Bundle
from fastlic.runtime.entropy.passes import Pass
from fastlic.runtime.entropy.reader import open_reader
from fastlic.runtime.entropy.tables import Distribution, RowTables
from fastlic.runtime.limits import Limits
from fastlic.runtime.manifest import Code
from fastlic.runtime.schedule import code_tile
from fastlic.runtime.student import Student

PARITIES = ("all", "even", "odd")


def numbers(*values: int) -> bytes:
    """u32 values."""
    return struct.pack(f"<{len(values)}I", *values)


def array(values: np.ndarray) -> bytes:
    """A length and the elements."""
    little_endian = values.astype(values.dtype.newbyteorder("<"))
    return numbers(values.size) + little_endian.tobytes()


def distribution_bytes(tables: Distribution) -> bytes:
    """The tables of one distribution."""
    if isinstance(tables, RowTables):
        return numbers(0) + array(tables.cdf) + array(tables.window) + array(tables.low)
    names = ("exponential", "thresholds", "inverse_scale", "tail", "half_cdf")
    head = numbers(1, len(tables.families), tables.components, tables.skip_threshold)
    return head + b"".join(array(getattr(tables, name)) for name in names)


def student_bytes(student: Student) -> bytes:
    """`student.bin`."""
    manifest, latents, distributions = student.manifest, list(student.manifest.coded), list(student.distributions)
    parts = [student.bundle.fingerprint, numbers(manifest.multiple, manifest.rates, len(latents))]
    parts += [numbers(it.channels, it.stride, it.channel_map) for it in manifest.coded.values()]
    parts.append(numbers(len(distributions)))
    parts += [distribution_bytes(tables) for tables in student.distributions.values()]
    passes = [step for step in manifest.schedule if isinstance(step, Code)]
    parts.append(numbers(len(passes)))
    for step in passes:
        chosen = latents.index(step.latent), distributions.index(step.distribution), *step.channels
        parts.append(numbers(*chosen, PARITIES.index(step.parity), step.parameters is not None))
    return b"".join(parts)


def outputs_bytes(student: Student, data: bytes) -> bytes:
    """`outputs.bin`: decode the file, and keep what each pass was given."""
    manifest = student.manifest
    header = bitstream.probe(data)
    grid = header.grid(manifest.multiple)
    parts: list[bytes] = []
    for box, tile in zip(grid, bitstream.read_tiles(data, header, grid, manifest.mapped, Limits()), strict=True):
        active = {
            name: np.unpackbits(np.frombuffer(bits, np.uint8), bitorder="little")[: manifest.mapped[name]].astype(bool)
            for name, bits in tile.channel_maps.items()
        }
        reader = open_reader(tile.streams, backend="constriction")

        def read(_step: Code, pass_: Pass, *_tensors: object, reader: object = reader) -> np.ndarray:
            if pass_.parameters is not None:
                parts.append(array(pass_.parameters))
            return reader.code(pass_)  # type: ignore[attr-defined]

        given = student.given(header.rate)
        code_tile(manifest, student.tile_steps, box, student.graphs, student.distributions, active, read, given=given)
    return b"".join(parts)


def main(lic: str, out: str, model: str | None = None) -> None:
    """Write both files into the folder `out`."""
    data = Path(lic).read_bytes()
    bundle = Bundle(model) if model else bundles.for_file(bitstream.probe(data))
    student = Student(bundle, engines.create("ort-cpu", threads=1))
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "student.bin").write_bytes(student_bytes(student))
    (folder / "outputs.bin").write_bytes(outputs_bytes(student, data))


if __name__ == "__main__":
    main(*sys.argv[1:])
