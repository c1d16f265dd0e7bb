"""The training loop: a run from its configuration to a checkpoint that `fastlic export` takes.

A run goes on from its folder, at any iteration, to the same weights as if it had not been interrupted.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from fastlic.export.distill import journal
from fastlic.export.distill.configuration import Run
from fastlic.export.distill.data import Crops
from fastlic.export.distill.trainer import Trainer
from fastlic.export.distill.watch import measure_all

STEP_COLUMNS = ("iteration", "loss", "bpp", "z_share", "psnr", "imitation", "learning_rate", "seconds")
WATCH_COLUMNS = (
    "iteration", "loss", "bpp", "z_share", "psnr", "mse", "bits_z", "bits_anchor", "bits_nonanchor",
    "zero_channels", "largest", "rare",
)  # fmt: skip


def train(run: Run) -> Path:
    """Carry out a run, or what is left of it.

    Args:
        run: what is asked for.

    Returns:
        The checkpoint of averaged weights; beside it lie its configuration, `state.pt`, `steps.csv`, `watch.csv` and
        `curves.png`.

    Raises:
        CheckpointError: see `Trainer`.
        ConfigurationError: see `Trainer` and `Crops`.
    """
    if run.threads:
        torch.set_num_threads(run.threads)
    crops = Crops(run.data.archives, run.data.held_out)
    trainer = Trainer(run, crops)
    full = [picture.to(trainer.device) for picture in crops.full_pictures(run.watch.pictures)]
    # A run that ended before its first state begins anew, and looks at full pictures again.
    kept = trainer.iteration or -1
    steps = journal.Table(run.output / "steps.csv", STEP_COLUMNS, kept)
    watched = journal.Table(run.output / "watch.csv", WATCH_COLUMNS, kept)
    last, begun = run.optimiser.iterations, time.monotonic()
    if trainer.iteration == 0:
        _look(trainer, full, watched)
    while trainer.iteration < last:
        row = trainer.step()
        done = trainer.iteration
        if done % run.watch.report == 0:
            row["seconds"] = time.monotonic() - begun
            steps.add(row)
            print(
                f"{run.name} {done}/{last} loss {row['loss']:.4f} bpp {row['bpp']:.4f} z {row['z_share']:.3f} "
                f"psnr {row['psnr']:.2f} lr {row['learning_rate']:.2g} {row['seconds']:.0f} s",
                flush=True,
            )
        if done % run.watch.save == 0 or done == last:
            trainer.save()
        if done % run.watch.every == 0 or done == last:
            _look(trainer, full, watched)
            journal.draw(steps.path, watched.path, run.output / "curves.png")
    return trainer.checkpoint_path


def _look(trainer: Trainer, pictures: list[Tensor], table: journal.Table) -> None:
    """Measure the averaged weights on full pictures; write and print the figures."""
    found = measure_all(trainer.average.model, pictures)
    loss = trainer.run.loss.trade_off * found.mse + found.bpp
    table.add({"iteration": trainer.iteration, "loss": loss, "z_share": found.z_share, **asdict(found)})
    print(
        f"{trainer.run.name} full pictures at {trainer.iteration}: loss {loss:.4f} bpp {found.bpp:.4f} "
        f"psnr {found.psnr:.2f} z {found.z_share:.4f} rare {found.rare:.1f} zero {found.zero_channels:.0f}",
        flush=True,
    )
