"""What would happen without pinning: a pinned student's files decoded by an engine that they were not made for.

    python -m fastlic.benchmarks.pinned_differences PICTURE... --bundle STUDENT.licb --engine torch --json out.json

Two figures. Files: how many the other engine decodes to the same symbols, and how many end in an error (the checksum
leaves no third outcome). Parameters: given the right symbols, what share of the integers that the passes are coded with
differs; one is enough to lose a file.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from fastlic.benchmarks.measure import save
from fastlic.errors import BitstreamError
from fastlic.runtime import engines, pictures
from fastlic.runtime.bundle import Bundle
from fastlic.runtime.codec import Decoder, Encoder
from fastlic.runtime.entropy.passes import Pass
from fastlic.runtime.manifest import Code
from fastlic.runtime.schedule import code_tile, gather
from fastlic.runtime.student import Student
from fastlic.runtime.tiles import Box

OWN = "ort-cpu"


@dataclass
class Differences:
    """Counts over all pictures and rates."""

    files: int = 0
    failed: int = 0
    parameters: int = 0
    differing: int = 0


def compare(images: Sequence[np.ndarray], path: Path, engine: str) -> Differences:
    """Encode with the bundle's own engine at every rate, decode with another, pinning overridden.

    Args:
        images: (H, W, 3) uint8, small enough for one tile; what exceeds whole padding multiples is cut off.
        path: of a pinned bundle.
        engine: the other engine's name.

    Raises:
        PinMismatch: the bundle's own engine is not this machine's.
    """
    found = Differences()
    with (
        Bundle(path) as bundle,
        Encoder(path, engine=OWN, threads=1) as encoder,
        Decoder(path, engine=engine, threads=1, ignore_pin=True) as other,
    ):
        students = [Student(bundle, engines.create(name, threads=1)) for name in (OWN, engine)]
        unit = bundle.manifest.multiple
        for image in images:
            height, width = (size // unit * unit for size in image.shape[:2])
            picture = np.ascontiguousarray(image[:height, :width])
            for rate in range(1, bundle.manifest.rates + 1) or (0,):
                found.files += 1
                try:
                    other.decode_latents(encoder.encode(picture, rate=rate or None))
                except BitstreamError:
                    found.failed += 1
                box = Box(0, 0, width, height)
                analysed = students[0].analyse(box, picture, None, rate)
                latents = students[0].analyse_tile(box, analysed, None)
                expected, seen = (_parameters(student, latents, box, rate) for student in students)
                found.parameters += sum(array.size for array in expected.values())
                found.differing += sum(int(np.count_nonzero(seen[name] != expected[name])) for name in expected)
    return found


def _parameters(student: Student, latents: Mapping[str, np.ndarray], box: Box, rate: int) -> dict[str, np.ndarray]:
    """What an engine computes for every pass when all symbols are right."""

    def known(step: Code, _pass: Pass, _tensors: Mapping[str, np.ndarray]) -> np.ndarray:
        return gather(latents[step.latent], step)

    steps = student.coding_steps
    tensors = code_tile(
        student.manifest, steps, box, student.graphs, student.distributions, {}, known, given=student.given(rate)
    )
    names = {step.parameters for step in steps if isinstance(step, Code) and step.parameters}
    return {name: tensors[name] for name in names}


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("pictures", type=Path, nargs="+")
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--engine", default="torch")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = compare([pictures.load(path).pixels for path in options.pictures], options.bundle, options.engine)
    print(f"{options.engine}: {found.failed} of {found.files} files end in an error")
    print(f"{options.engine}: {found.differing} of {found.parameters} parameters differ, the symbols being right")
    save(options.json, asdict(found))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
