"""Files that every later version must decode to the same symbols: what they hold, and how they are made.

`make golden` writes them anew. That is for a new format version or a new shipped student only: the commit says so, and
CHANGELOG.md under "Coded output". Otherwise a difference is a defect.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from unittest import mock

import numpy as np
import tiny_student
from PIL import Image

from fastlic.runtime.bundle import Bundle, shipped
from fastlic.runtime.codec import Decoder, Encoder
from fastlic.runtime.conformance import symbol_crcs

FOLDER = Path(__file__).parent / "golden"
LISTING = FOLDER / "golden.json"
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


@dataclass(frozen=True)
class Golden:
    """One entry of the listing: a `.lic` file, its decoded picture, its bundle (None: shipped), its checksums."""

    file: str
    picture: str
    bundle: str | None
    fingerprint: str
    symbol_crc: tuple[int, ...]


def listed() -> list[Golden]:
    """The golden files, as listed."""
    return [Golden(**entry) for entry in json.loads(LISTING.read_text())] if LISTING.is_file() else []


def bundle_of(golden: Golden) -> Path:
    """The bundle that wrote a golden file.

    Raises:
        LookupError: it was shipped once, and is not any more.
    """
    if golden.bundle is not None:
        return FOLDER / golden.bundle
    for path in shipped():
        with Bundle(path) as bundle:
            if bundle.fingerprint.hex() == golden.fingerprint:
                return path
    raise LookupError(f"{golden.file}: no shipped student has fingerprint {golden.fingerprint}; see {__name__}")


def write() -> Iterator[Golden]:
    """Replace the folder's files."""
    for old in FOLDER.glob("*"):
        old.unlink()
    FOLDER.mkdir(exist_ok=True)
    photograph = np.asarray(Image.open(PHOTOGRAPH).convert("RGB"))
    tiny = FOLDER / "tiny.licb"
    tiny.write_bytes(tiny_student.bundle_bytes())
    for path in (tiny, *shipped()):
        with Bundle(path) as bundle, Encoder(path, threads=1) as encoder, Decoder(path, threads=1) as decoder:
            for subject in SUBJECTS:
                with mock.patch("fastlic.runtime.tiles.TARGET_EDGE", subject.edge):
                    data = encoder.encode(
                        photograph[subject.rows, subject.columns],
                        metadata={kind: text.encode() for kind, text in subject.metadata},
                        stream_count=subject.streams,
                    )
                name = f"{path.stem}-{subject.name}"
                (FOLDER / f"{name}.lic").write_bytes(data)
                Image.fromarray(decoder.decode(data)).save(FOLDER / f"{name}.png")
                yield Golden(
                    file=f"{name}.lic",
                    picture=f"{name}.png",
                    bundle=tiny.name if path == tiny else None,
                    fingerprint=bundle.fingerprint.hex(),
                    symbol_crc=symbol_crcs(data, bundle),
                )


def main() -> None:
    """Write the golden files and their listing."""
    entries = list(write())
    LISTING.write_text(json.dumps([asdict(entry) for entry in entries], indent=1) + "\n")
    for entry in entries:
        print(f"{entry.file}  {(FOLDER / entry.file).stat().st_size} bytes  {len(entry.symbol_crc)} tiles")


if __name__ == "__main__":
    main()
