"""Golden files never change, decode to what they always decoded to, and are written as they always were.

`make golden` adds files; golden_files.py says when.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from conformance.golden_files import FOLDER, HASHES, HASHES_HEAD, digest_of, files, hashes
from conformance.plain_container import read_bundle
from conformance.plain_decoder import decode
from tile_writer import write_tile

from fastlic.errors import PinMismatch
from fastlic.kernels import native
from fastlic.runtime import bitstream, engines, golden
from fastlic.runtime.bundle import Bundle, shipped
from fastlic.runtime.decoding import active_channels
from fastlic.runtime.golden import Golden
from fastlic.runtime.limits import Limits
from fastlic.runtime.pin import check_pin
from fastlic.runtime.student import Student


def require_its_engine(path: Path) -> None:
    """Skip where a bundle's networks are pinned to another engine, version or class of machine."""
    with Bundle(path) as bundle:
        engine = engines.create("ort-cpu", threads=1)
        try:
            check_pin(bundle.manifest, engine)
        except PinMismatch as mismatch:
            pytest.skip(str(mismatch))
        finally:
            engine.close()


every_golden_file = pytest.mark.parametrize("entry", golden.listed(), ids=lambda entry: entry.file)


def test_every_shipped_student_has_golden_files() -> None:
    listed = {entry.fingerprint for entry in golden.listed()}
    for path in shipped():
        with Bundle(path) as bundle:
            assert bundle.fingerprint.hex() in listed, f"{path.name}: coded output changed; see golden_files.py"


def test_golden_files_have_the_listed_content() -> None:
    assert {path.name: digest_of(path) for path in files()} == hashes()
    assert HASHES.read_text().startswith(HASHES_HEAD + "\n"), "a new format version begins a list of its own"
    assert golden.folder().resolve() == FOLDER
    listed = {name for entry in golden.listed() for name in (entry.file, entry.picture, entry.bundle) if name}
    assert listed == hashes().keys()


def test_no_golden_file_was_ever_replaced() -> None:
    """Changing a file and its line in the list together passes the test above; the list's history shows it."""
    if shutil.which("git") is None:
        pytest.skip("no git")
    command = ["git", "log", "--format=", "--no-renames", "-p", "--", HASHES.name]
    done = subprocess.run(command, cwd=HASHES.parent, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no history: {done.stderr.strip()[:80]}")
    seen: dict[str, set[str]] = {}
    for digest, name in re.findall(r"^[+-]([0-9a-f]{64})  (\S+)$", done.stdout, re.MULTILINE):
        seen.setdefault(name, set()).add(digest)
    assert {name: found for name, found in seen.items() if len(found) > 1} == {}


@pytest.mark.parametrize("reader", ["native", "constriction"])
@every_golden_file
def test_golden_file_decodes_to_the_listed_symbols_and_picture(entry: Golden, reader: str) -> None:
    if reader == "native" and not native.available():
        pytest.skip("the native module was not built")

    require_its_engine(golden.bundle_of(entry))

    (finding,) = golden.check_student(golden.bundle_of(entry), [entry], "ort-cpu", reader, threads=1)

    assert entry.file in finding.check
    assert finding.problem is None


@every_golden_file
def test_golden_symbols_are_written_to_the_bytes_of_the_file(entry: Golden) -> None:
    """The plain decoder reads the symbols, the writer of today writes them again: nothing else may come out."""
    path, data = golden.bundle_of(entry), (FOLDER / entry.file).read_bytes()
    require_its_engine(path)
    manifest, entries = read_bundle(path.read_bytes())
    with Bundle(path) as bundle:
        student = Student(bundle, engines.create("ort-cpu", threads=1))
        header = bitstream.probe(data)
        grid = header.grid(bundle.manifest.multiple)
        tiles = bitstream.read_tiles(data, header, grid, student.mapped, Limits())
        read = decode(data, manifest, entries, lambda name, inputs: student.graphs[name](inputs))
        for box, tile, latents in zip(grid, tiles, read, strict=True):
            # The file's own: a channel may be coded for an element that is then skipped, and come out empty.
            active = active_channels(student, tile)
            streams, _ = write_tile(student, box, latents, active, len(tile.streams), header.rate)
            assert [bytes(stream) for stream in tile.streams] == streams
