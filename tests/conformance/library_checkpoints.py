"""Train small checkpoints with CompressAI itself, and export them to the bundles that lie among the golden files.

    cd tests && python -m conformance.library_checkpoints CHECKPOINTS PICTURES NAME... [--steps 1500]

CHECKPOINTS is the folder to write NAME-small.pt to, PICTURES a folder or .tar of photographs. The library's models are
built with a few channels and trained with its own loss for as many steps as statistics need to be plausible: pictures
are poor, symbols and scales are not those of random weights. ELIC's channel contexts have widths that its format fixes
(224 and 128); all but `LIVE` of those channels are held at zero, so that a bundle stays small.
A bundle made again is another student (training is floating point): replace none, see `golden_files`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fastlic.benchmarks.peers import library
from fastlic.export import calibration
from fastlic.export.convert import convert
from fastlic.export.students.compressai import NAMES

WIDTHS = {"elic2022": (8, 12)}
"""(N, M) where they are not (12, 16)."""
GROUPS = (2, 2, 2, 2, 4)
LIVE = 8
TRADE_OFF = 0.05 * 255**2
BATCH, EDGE = 4, 128
RATES = ((0.5, 3e-3), (0.8, 1e-3), (1.0, 2e-4))
"""(share of the steps, rate of learning until then)."""


def untrained(name: str) -> Any:
    """One of the library's models."""
    models, (n, m) = library.models(), WIDTHS.get(name, (12, 16))
    if name == "elic2022":
        return models.Elic2022Official(n, m, groups=GROUPS)
    if name == "cheng2020-anchor-checkerboard":
        return models.Cheng2020AnchorCheckerboard(n)
    kinds = {
        "bmshj2018-factorized": models.FactorizedPrior,
        "bmshj2018-hyperprior": models.ScaleHyperprior,
        "mbt2018-mean": models.MeanScaleHyperprior,
    }
    return kinds[name](n, m)


def masks_of(model: nn.Module) -> dict[str, Tensor]:
    """Parameter -> 1 where it may live: the first channels inside every channel context."""
    found = {}
    for name, value in model.named_parameters():
        if "channel_context" in name:
            layer, mask = name.split(".")[-2], torch.ones_like(value)
            if layer in ("0", "2"):
                mask[LIVE:] = 0
            if value.ndim == 4 and layer in ("2", "4"):
                mask[:, LIVE:] = 0
            found[name] = mask
    return found


def train(model: Any, pictures: list[np.ndarray], steps: int) -> None:
    """Minimise bits and squared error over random crops."""
    generator, masks = np.random.default_rng(5), masks_of(model)
    quantiles = {name for name, _ in model.named_parameters() if name.endswith("quantiles")}
    main = torch.optim.Adam([value for name, value in model.named_parameters() if name not in quantiles])
    auxiliary = torch.optim.Adam([value for name, value in model.named_parameters() if name in quantiles], lr=1e-2)
    for step in range(steps):
        main.param_groups[0]["lr"] = next(rate for share, rate in RATES if step < share * steps)
        batch = []
        for _ in range(BATCH):
            picture = pictures[generator.integers(len(pictures))]
            row, column = (generator.integers(0, size - EDGE + 1) for size in picture.shape[:2])
            batch.append(torch.from_numpy(picture[row : row + EDGE, column : column + EDGE].copy()))
        x = torch.stack(batch).permute(0, 3, 1, 2).float() / 255
        given = model(x)
        bits = sum(-torch.log2(likelihood).sum() for likelihood in given["likelihoods"].values())
        loss = bits / (BATCH * EDGE**2) + TRADE_OFF * (given["x_hat"] - x).square().mean()
        main.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(main.param_groups[0]["params"], 5.0)
        main.step()
        with torch.no_grad():
            for name, mask in masks.items():
                model.get_parameter(name).mul_(mask)
        auxiliary.zero_grad()
        model.aux_loss().backward()
        auxiliary.step()
        if step % 100 == 99:
            print(f"step {step + 1}: loss {float(loss.detach()):.2f}", flush=True)


def main() -> None:
    """Train and export."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkpoints", type=Path)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("names", nargs="+", choices=NAMES)
    parser.add_argument("--steps", type=int, default=1500)
    options = parser.parse_args()
    chosen = calibration.load(options.pictures, 64)
    for name in options.names:
        torch.manual_seed(5)
        model = untrained(name).train()
        train(model, [*chosen.calibration, *chosen.validation], options.steps)
        checkpoint = options.checkpoints / f"{name}-small.pt"
        torch.save(model.eval().state_dict(), checkpoint)
        bundle = Path(__file__).parent / "golden" / f"{name}-small.licb"
        if not bundle.exists():
            convert(checkpoint, bundle, student=name, calibration=options.pictures)


if __name__ == "__main__":
    main()
