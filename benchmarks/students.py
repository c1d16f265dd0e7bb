"""Every family of students side by side: what its bundle holds, and how long a decode takes stage by stage.

    python -m fastlic.benchmarks.students FOLDER PICTURE... --threads 2 --rounds 5

FOLDER keeps the bundles: those of CompressAI's families are made on first use, untrained and with the widths of that
library's own low-rate models (which takes minutes each); every other `.licb` in it is measured too. Weights are random
(seeded); y gets a standard deviation of `DEVIATION` and the networks predict it, so that symbols are about as many and
as likely as a trained model's at high rates. Rate and quality of untrained networks say nothing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.table import Table

from fastlic.benchmarks.configurations import measure
from fastlic.benchmarks.measure import Summary, save
from fastlic.benchmarks.stages import ENTROPY, WHOLE
from fastlic.runtime import pictures
from fastlic.runtime.bundle import SUFFIX, Bundle
from fastlic.runtime.manifest import Code, Run

if TYPE_CHECKING:
    from torch import Tensor

DEVIATION = 0.4
CONTRAST = 0.2
"""Standard deviations of y and of the decoded picture."""
TABLE_WIDTH = 180
NETWORKS, SYNTHESIS = "entropy networks", "synthesis"
SHOWN = (WHOLE, NETWORKS, ENTROPY, SYNTHESIS)
WIDTHS: dict[str, dict[str, Any]] = {
    "bmshj2018-factorized": {"N": 128, "M": 192},
    "bmshj2018-hyperprior": {"N": 128, "M": 192},
    "mbt2018-mean": {"N": 128, "M": 192},
    "cheng2020-anchor-checkerboard": {"N": 128},
    "elic2022": {"N": 192, "M": 320, "groups": [16, 16, 32, 64, 192]},
}


@dataclass(frozen=True)
class Contents:
    """What a bundle holds, of what a decoder needs: weights that are not 0, graphs, passes; bytes of all of it."""

    weights: int
    graphs: int
    passes: int
    size: int
    exact: str
    rate_cost: float | None


def contents_of(path: Path) -> Contents:
    """Look into a bundle."""
    import onnx
    from onnx import numpy_helper

    with Bundle(path) as bundle:
        manifest = bundle.manifest
        needed = {step.graph for step in manifest.schedule if isinstance(step, Run)}
        weights = 0
        for name in needed:
            model = onnx.load_from_string(bundle.member(manifest.graphs[name].file))
            arrays = (numpy_helper.to_array(tensor) for tensor in model.graph.initializer)
            weights += sum(
                int(np.count_nonzero(array)) for array in arrays if array.dtype.kind != "i" or array.ndim > 1
            )
        return Contents(
            weights=weights,
            graphs=len(needed),
            passes=sum(isinstance(step, Code) for step in manifest.schedule),
            size=path.stat().st_size,
            exact="exact" if manifest.pin is None else f"pinned to {manifest.pin.engine}",
            rate_cost=manifest.validation.get("rate_cost", {}).get("total"),
        )


def lively_state(student: str, picture: np.ndarray) -> Mapping[str, Tensor]:
    """Random weights whose latents and predictions have `DEVIATION`.

    Args:
        student: key of `WIDTHS`.
        picture: (H, W, 3) uint8, multiples of 64.
    """
    import torch
    from torch import nn

    from fastlic.export.students import from_configuration
    from fastlic.export.students.factorised import FactorisedPrior

    torch.manual_seed(2023)
    model = from_configuration({"student": student, **WIDTHS[student]}).eval()
    pixels = torch.tensor(picture).permute(2, 0, 1)[None].float() / 255
    g_a = model.get_submodule("g_a")
    last = [module for module in g_a.children() if isinstance(module, nn.Conv2d)][-1]
    numbers = [name for name, _ in model.named_modules() if name.endswith((".entropy_parameters.4", "h_s.4"))]
    contexts = any("entropy_parameters" in name for name in numbers)
    with torch.no_grad():
        for _ in range(3):  # attention may follow the convolution, so the first scaling is not exact
            factor = DEVIATION / g_a(pixels).std()
            last.weight.mul_(factor)
            last.get_parameter("bias").mul_(factor)
        for module in model.modules():
            if isinstance(module, FactorisedPrior):
                for matrix in module.matrices:
                    matrix.fill_(float(np.log(np.expm1(1 / matrix.shape[1]))))  # as wide as one step, not as ten
        for name in numbers:
            if contexts and name.endswith("h_s.4"):
                continue
            module = model.get_submodule(name)
            half = module.get_parameter("bias")
            half.zero_()
            half[: len(half) if student == "bmshj2018-hyperprior" else len(half) // 2] = DEVIATION
            module.get_parameter("weight").mul_(0.1)
        g_s = model.get_submodule("g_s")
        shown = [module for module in g_s.modules() if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d))][-1]
        shown.weight.mul_(CONTRAST / g_s(g_a(pixels).round()).std())
        shown.get_parameter("bias").fill_(0.5)
    return model.state_dict()


def bundle_of(student: str, folder: Path, picture: np.ndarray, console: Console) -> Path:
    """The bundle of a family, exported on first use."""
    bundle = folder / f"{student}{SUFFIX}"
    if not bundle.exists():
        import torch

        from fastlic.export.convert import convert

        checkpoint = folder / f"{student}.pt"
        torch.save(lively_state(student, picture), checkpoint)
        convert(checkpoint, bundle, student=student, progress=lambda line: console.print(f"{student}: {line}"))
    return bundle


def with_networks(stages: Mapping[str, Summary], bundle: Path) -> dict[str, float]:
    """Medians in milliseconds, the graphs of tiles summed up as NETWORKS."""
    with Bundle(bundle) as opened:
        tiles = {name for name, graph in opened.manifest.graphs.items() if graph.scope == "tile"}
    medians = {stage: 1000 * summary.median for stage, summary in stages.items()}
    return {**medians, NETWORKS: sum(value for stage, value in medians.items() if stage in tiles)}


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("pictures", type=Path, nargs="+")
    parser.add_argument("--only", nargs="+", choices=sorted(WIDTHS), default=sorted(WIDTHS), help="families to make")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    console = Console()
    options.folder.mkdir(parents=True, exist_ok=True)
    images = [pictures.load(path).pixels for path in options.pictures]
    for student in options.only:
        bundle_of(student, options.folder, images[0], console)
    bundles = {path.stem: path for path in sorted(options.folder.glob(f"*{SUFFIX}"))}
    table = Table(title=f"decode, {options.threads} threads, milliseconds, medians")
    columns = ("student", "weights, M", "graphs", "passes", "MB", "symbols", "rate cost, %", "bpp", *SHOWN)
    for column in columns:
        table.add_column(column)
    rows = []
    for name, (stages, bpp) in measure(bundles, images, options.threads, options.rounds).items():
        held, medians = contents_of(bundles[name]), with_networks(stages, bundles[name])
        cost = "-" if held.rate_cost is None else f"{100 * held.rate_cost:+.3f}"
        told = (f"{held.weights / 1e6:.2f}", str(held.graphs), str(held.passes), f"{held.size / 1e6:.2f}", held.exact)
        table.add_row(name, *told, cost, f"{bpp:.2f}", *(f"{medians[stage]:.1f}" for stage in SHOWN))
        rows.append({"name": name, "contents": asdict(held), "bpp": bpp, "stages": stages})
    Console(width=TABLE_WIDTH).print(table)
    save(options.json, {"threads": options.threads, "rows": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
