"""Train and export the small students whose bundles lie among the golden files.

    cd tests && python -m conformance.small_students NAME... [--folder FOLDER]

Widths are a few channels, training a few hundred steps on made-up pictures: enough that rates and latents are not those
of random weights, and small enough for a repository. Bundles are exact or pinned like any other and are checked like
any other when they are exported. A bundle made again is another student (training is floating point): replace one only
on purpose, then run `python -m conformance.golden_files`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fastlic.export.calibration import made_up
from fastlic.export.convert import convert
from fastlic.export.distill.brief import Lesson, train
from fastlic.export.students import from_configuration

PRIOR = "deep factorised (CompressAI key names)"
SCALE = "softplus(x) + 0.11"
INPUT = "RGB in [0, 1]"


@dataclass(frozen=True)
class Small:
    """One student: its configuration and how it is trained."""

    configuration: dict[str, Any]
    lesson: Lesson


STUDENTS = {
    "ilc-small": Small(
        {
            "student": "ilc",
            "kernels": [5, 3],
            "hidden": [8, 8],
            "couplings": 1,
            "bound": 1.0,
            "gain": 32.0,
            "prior": PRIOR,
        },
        Lesson(steps=300, trade_off=0.01),
    ),
    "bgvae-small": Small(
        {
            "student": "bgvae",
            "widths": [6, 6, 6, 6],
            "kernels": [3, 3, 5, 5],
            "latents": [[4], [3, 3], [2, 2, 2], [2, 2, 2]],
            "heads": 2,
            "expansion": 2,
            "embedding": 6,
            "lambdas": [0.002, 0.006, 0.018, 0.054, 0.162],
            "scale_activation": SCALE,
            "input": INPUT,
        },
        Lesson(steps=200, trade_off=0.002, learning_rate=4e-3, batch=2),
    ),
    "kdic-small": Small(
        {
            "student": "kdic",
            "N": 8,
            "M": 12,
            "groups": [2, 4, 6],
            "features": 16,
            "context_hidden": 8,
            "parameter_hidden": 16,
            "leaky_slope": 0.01,
            "anchor_parity": "even",
            "input": INPUT,
        },
        Lesson(steps=300, trade_off=0.02, learning_rate=2e-3),
    ),
    "feds-small": Small(
        {
            "student": "feds",
            "N": 8,
            "M": 12,
            "slices": 3,
            "features": 16,
            "slice_hidden": 12,
            "residual_hidden": 8,
            "leaky_slope": 0.01,
            "residual_limit": "clip to half a step",
            "input": INPUT,
        },
        Lesson(steps=300, trade_off=0.02, learning_rate=2e-3),
    ),
}


def make(name: str, folder: Path) -> None:
    """Train and export one student to `folder`."""
    small = STUDENTS[name]
    torch.manual_seed(small.lesson.seed)
    torch.set_num_threads(1)
    model = from_configuration(small.configuration)
    rows = train(model, made_up(16, 128, seed=5), small.lesson)
    print(f"{name}: loss {rows[0]['loss']:.2f} -> {rows[-1]['loss']:.2f}, {rows[-1]['bpp']:.3f} bpp")
    with tempfile.TemporaryDirectory() as work:
        checkpoint = Path(work) / f"{name}.pt"
        torch.save(model.state_dict(), checkpoint)
        told = {"licence": "CC0-1.0", "training": f"{small.lesson.steps} steps on made-up pictures"}
        checkpoint.with_suffix(".json").write_text(json.dumps({**small.configuration, **told}))
        report = convert(
            checkpoint, folder / f"{name}.licb", progress=lambda line: print(f"{name}: {line}", flush=True)
        )
    print(f"{name}: {report['bytes']} bytes, rate cost {report['rate_cost']}")


def main() -> None:
    """Make the students named."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="+", choices=sorted(STUDENTS))
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent / "golden")
    options = parser.parse_args()
    for name in options.names:
        make(name, options.folder)


if __name__ == "__main__":
    main()
