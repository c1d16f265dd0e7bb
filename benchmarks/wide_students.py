"""Untrained students of ILC, FEDS, KDIC and BG-VAE at widths worth timing, as bundles in a folder.

    python -m fastlic.benchmarks.wide_students FOLDER [NAME...]
    python -m fastlic.benchmarks.students FOLDER PICTURE... --threads 2 --rounds 5

The seeds do not give every width; these are ours, near those of published codecs of the kind. Weights are as training
would begin with them, so rate and quality say nothing; the work of a decode is that of a trained student but for the
number of coded symbols.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image
from rich.console import Console

from fastlic.runtime.bundle import SUFFIX

PICTURES = 8
"""Made-up pictures of `EDGE` x `EDGE` to calibrate on: ranges of random weights need no more."""
EDGE = 128
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "ilc-wide": {
        "student": "ilc",
        "kernels": [5, 5, 3, 3],
        "hidden": [32, 64, 96, 128],
        "couplings": 1,
        "bound": 1.0,
        "gain": 32.0,
        "prior": "deep factorised (CompressAI key names)",
    },
    "kdic-wide": {
        "student": "kdic",
        "N": 128,
        "M": 192,
        "groups": [16, 16, 32, 64, 64],
        "features": 256,
        "context_hidden": 96,
        "parameter_hidden": 256,
        "leaky_slope": 0.01,
        "anchor_parity": "even",
        "input": "RGB in [0, 1]",
    },
    "feds-wide": {
        "student": "feds",
        "N": 128,
        "M": 200,
        "slices": 5,
        "features": 256,
        "slice_hidden": 128,
        "residual_hidden": 64,
        "leaky_slope": 0.01,
        "residual_limit": "clip to half a step",
        "input": "RGB in [0, 1]",
    },
    "bgvae-wide": {
        "student": "bgvae",
        "widths": [128, 128, 96, 64],
        "kernels": [3, 3, 5, 7],
        "latents": [[32], [32, 32], [24, 24, 24], [16, 16, 16]],
        "heads": 4,
        "expansion": 2,
        "embedding": 64,
        "lambdas": [0.002, 0.004, 0.008, 0.016, 0.032],
        "scale_activation": "softplus(x) + 0.11",
        "input": "RGB in [0, 1]",
    },
}


def make(name: str, folder: Path, console: Console) -> Path:
    """Export one student, untrained; returns its bundle's path.

    Raises:
        VerificationFailed, CertificateError: as every export.
    """
    import torch

    from fastlic.export.calibration import made_up
    from fastlic.export.convert import convert
    from fastlic.export.students import from_configuration

    torch.manual_seed(2023)
    model = from_configuration(CONFIGURATIONS[name])
    console.print(f"{name}: {sum(parameter.numel() for parameter in model.parameters()):,} parameters")
    with tempfile.TemporaryDirectory() as work:
        checkpoint, pictures = Path(work) / f"{name}.pt", Path(work) / "pictures"
        torch.save(model.state_dict(), checkpoint)
        checkpoint.with_suffix(".json").write_text(json.dumps(CONFIGURATIONS[name] | {"training": "none"}))
        pictures.mkdir()
        for number, pixels in enumerate(made_up(PICTURES, EDGE)):
            Image.fromarray(pixels).save(pictures / f"{number}.png")
        convert(
            checkpoint,
            folder / f"{name}{SUFFIX}",
            calibration=pictures,
            progress=lambda line: console.print(f"{name}: {line}"),
        )
    return folder / f"{name}{SUFFIX}"


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", default=list(CONFIGURATIONS), metavar="NAME")
    options = parser.parse_args()
    unknown = sorted(set(options.names) - CONFIGURATIONS.keys())
    if unknown:
        parser.error(f"there is no {unknown[0]}; known: {', '.join(CONFIGURATIONS)}")
    options.folder.mkdir(parents=True, exist_ok=True)
    console = Console(stderr=True)
    for name in options.names:
        path = make(name, options.folder, console)
        console.print(f"{name}: {path.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
