"""Files that every later version must decode to the same symbols: what they hold, and how they are made.

`make golden` adds the files of students that have none yet: shipped ones, and bundles that were put into the folder. A
file that is there never changes within a format version: golden.sha256 names the content of each, nothing here replaces
one, and tests compare, with the list's own history too. A student that is not shipped any more takes its files along;
the commit says so, and CHANGELOG.md under "Coded output".
`fastlic.runtime.golden` reads the listing, in tests as on a user's machine.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from unittest import mock

import numpy as np
import tiny_student
from PIL import Image

from fastlic.errors import StudentNotFound
from fastlic.runtime import golden
from fastlic.runtime.bitstream import VERSION
from fastlic.runtime.bundle import SUFFIX, Bundle, shipped
from fastlic.runtime.codec import Decoder, Encoder
from fastlic.runtime.conformance import symbol_crcs
from fastlic.runtime.golden import Golden

FOLDER = Path(__file__).parent / "golden"
HASHES = Path(__file__).parent / "golden.sha256"
HASHES_HEAD = f"# Format version {VERSION}. SHA-256 of every golden file; lines are added, never changed."
PHOTOGRAPH = Path(__file__).parents[1] / "data" / "kodim23.png"


@dataclass(frozen=True)
class Subject:
    """What one golden file is a picture of; `edge` is the writer's aim for tiles, in pixels."""

    name: str
    rows: slice
    columns: slice
    edge: int = 1024
    streams: int = 1
    metadata: tuple[tuple[str, str], ...] = ()


SUBJECTS = (
    Subject("pixel", slice(90, 91), slice(90, 91)),
    Subject("square", slice(160, 224), slice(448, 512), streams=3, metadata=(("exif", "Exif\0\0MM"), ("xmp", "<x/>"))),
    Subject("tiles", slice(60, 190), slice(200, 299), edge=64, streams=2),
)


def students() -> Iterator[Path]:
    """Bundles that have golden files or are to get some."""
    tiny = FOLDER / "tiny.licb"
    if not tiny.exists():
        tiny.write_bytes(tiny_student.bundle_bytes())
    yield from sorted(FOLDER.glob(f"*{SUFFIX}"))
    yield from shipped()


def write(path: Path) -> Iterator[Golden]:
    """Make the golden files of one student."""
    photograph = np.asarray(Image.open(PHOTOGRAPH).convert("RGB"))
    with Bundle(path) as bundle, Encoder(path, threads=1) as encoder, Decoder(path, threads=1) as decoder:
        for subject in SUBJECTS:
            with mock.patch("fastlic.runtime.tiles.TARGET_EDGE", subject.edge):
                data = encoder.encode(
                    photograph[subject.rows, subject.columns],
                    metadata={kind: text.encode() for kind, text in subject.metadata},
                    stream_count=subject.streams,
                )
            name = f"{path.stem}-{subject.name}"
            with (FOLDER / f"{name}.lic").open("xb") as file:
                file.write(data)
            Image.fromarray(decoder.decode(data)).save(FOLDER / f"{name}.png")
            yield Golden(
                file=f"{name}.lic",
                picture=f"{name}.png",
                bundle=path.name if path.parent == FOLDER else None,
                fingerprint=bundle.fingerprint.hex(),
                symbol_crc=symbol_crcs(data, bundle),
            )


def files() -> list[Path]:
    """What is never to change: everything in the folder but the listing, which grows."""
    return sorted(path for path in FOLDER.iterdir() if path.suffix in (".lic", SUFFIX, ".png"))


def hashes() -> dict[str, str]:
    """File name -> SHA-256, as golden.sha256 has them."""
    lines = HASHES.read_text().splitlines()[1:] if HASHES.is_file() else []
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines)}


def digest_of(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def is_kept(entry: Golden) -> bool:
    """Whether a golden file's student is still there."""
    try:
        golden.bundle_of(entry)
    except StudentNotFound:
        return False
    return True


def main() -> None:
    """Add what is missing, and leave out what no student here can decode."""
    listed = golden.listed()
    kept = [entry for entry in listed if is_kept(entry)]
    for entry in listed:
        if entry not in kept:
            (FOLDER / entry.file).unlink()
            (FOLDER / entry.picture).unlink()
            print(f"{entry.file}  left out: its student is not shipped any more")
    known = {entry.fingerprint for entry in kept}
    for path in students():
        with Bundle(path) as bundle:
            is_new = bundle.fingerprint.hex() not in known
        for entry in write(path) if is_new else ():
            kept.append(entry)
            print(f"{entry.file}  {(FOLDER / entry.file).stat().st_size} bytes  {len(entry.symbol_crc)} tiles")
    (FOLDER / golden.LISTING).write_text(json.dumps([asdict(entry) for entry in kept], indent=1) + "\n")
    lines = [HASHES_HEAD, *(f"{digest_of(path)}  {path.name}" for path in files())]
    HASHES.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
