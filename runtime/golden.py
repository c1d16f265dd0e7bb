"""The golden files in the package: does this machine decode them to what they always were?

Knows their listing and how an outcome is compared; knows nothing of how they are made.
Maker: tests/conformance/golden_files.py.
Rule: within a format version a golden file never changes, nor what it decodes to (docs/format.md).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
from PIL import Image

from fastlic.errors import EngineNotPrepared, FastlicError, PinMismatch, StudentNotFound
from fastlic.runtime import conformance
from fastlic.runtime.bundle import Bundle, shipped
from fastlic.runtime.codec import Decoder
from fastlic.runtime.conformance import Finding

LISTING = "golden.json"
TOLERANCE = 1
"""Levels by which a pixel may differ between machines; symbols may not differ at all."""


@dataclass(frozen=True)
class Golden:
    """One entry of the listing.

    Attributes:
        file: the `.lic` file.
        picture: what it decodes to, a PNG.
        bundle: its bundle in the same folder; None: a shipped student.
        fingerprint: of the bundle, hexadecimal.
        symbol_crc: CRC-32 of the latents of each tile.
    """

    file: str
    picture: str
    bundle: str | None
    fingerprint: str
    symbol_crc: tuple[int, ...]


def folder() -> Path:
    """Where the golden files lie in this installation."""
    return Path(str(resources.files("fastlic.golden")))


def listed() -> list[Golden]:
    """The golden files, as listed."""
    entries = json.loads((folder() / LISTING).read_text(encoding="utf-8"))
    return [Golden(**entry | {"symbol_crc": tuple(entry["symbol_crc"])}) for entry in entries]


def bundle_of(golden: Golden) -> Path:
    """The bundle that wrote a golden file.

    Raises:
        StudentNotFound: it was shipped once, and is not any more.
    """
    if golden.bundle is not None:
        return folder() / golden.bundle
    for path in shipped():
        with Bundle(path) as bundle:
            if bundle.fingerprint.hex() == golden.fingerprint:
                return path
    raise StudentNotFound(f"{golden.file}: no shipped student has fingerprint {golden.fingerprint}.")


def check_all(engine: str | None, *, threads: int | None = None) -> Iterator[Finding]:
    """Decode every golden file with every reader that was built.

    Args:
        engine: its name; None takes all that can run here.
        threads: of engine and reader.
    """
    students: dict[Path, list[Golden]] = {}
    for golden in listed():
        students.setdefault(bundle_of(golden), []).append(golden)
    for name, reader in conformance.ways(engine):
        for path, files in students.items():
            yield from check_student(path, files, name, reader, threads=threads, must_run=engine is not None)


def check_student(
    path: Path,
    files: Iterable[Golden],
    engine: str,
    reader: str,
    *,
    threads: int | None = None,
    must_run: bool = True,
) -> Iterator[Finding]:
    """Decode the golden files of one student; symbols must be those listed, pixels within `TOLERANCE` levels.

    Args:
        path: of the bundle.
        files: written with it.
        engine, reader: as for `Decoder`; one that cannot run is a problem, not an exception.
        threads: of both.
        must_run: whether an engine that was never prepared for this student is a problem.
    """
    way = f"{engine}, {reader} reader"
    try:
        with Bundle(path) as bundle, Decoder(path, engine=engine, threads=threads, entropy=reader) as decoder:
            for golden in files:
                yield Finding(f"{golden.file}, {way}", _problem(golden, bundle, decoder))
    except PinMismatch:
        yield Finding(f"{path.name}, {way}: pinned to another engine or machine, not decoded")
    except FastlicError as error:
        if isinstance(error, EngineNotPrepared) and not must_run:
            yield Finding(f"{path.name}, {way}: not prepared by fastlic build, not decoded")
        else:
            yield Finding(f"{path.name}, {way}", f"{type(error).__name__}: {error}")


def _problem(golden: Golden, bundle: Bundle, decoder: Decoder) -> str | None:
    """What is wrong with the outcome of one file, if anything."""
    data = (folder() / golden.file).read_bytes()
    try:
        picture = decoder.decode(data).astype(np.int16)  # compares the symbols with the file's checksums, too
        if conformance.symbol_crcs(data, bundle) != golden.symbol_crc:
            return "the file has other symbol checksums than the listing"
    except EngineNotPrepared:
        raise
    except FastlicError as error:
        return f"{type(error).__name__}: {error}"
    expected = np.asarray(Image.open(folder() / golden.picture).convert("RGB")).astype(np.int16)
    if picture.shape != expected.shape:
        return f"the picture is {picture.shape}, not {expected.shape}"
    difference = int(np.abs(picture - expected).max())
    return None if difference <= TOLERANCE else f"a pixel differs by {difference} levels"
