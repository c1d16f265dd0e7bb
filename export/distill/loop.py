"""The training loop: one run from its configuration to a checkpoint that `fastlic export` takes.

A run is resumed from its folder, at any iteration, to the same weights as if it had not been interrupted. Losses,
data, states and figures are told apart in their own modules; the order of things stands here.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fastlic.errors import CheckpointError, ConfigurationError
from fastlic.export import checkpoint
from fastlic.export.distill import journal, state
from fastlic.export.distill.averaging import Average
from fastlic.export.distill.configuration import Run
from fastlic.export.distill.data import Crops
from fastlic.export.distill.losses import RateDistortion, imitation, rate_distortion
from fastlic.export.distill.pace import learning_rate
from fastlic.export.distill.watch import measure_all
from fastlic.export.students import from_configuration
from fastlic.export.students.configuration import FIXED
from fastlic.export.students.deform import enable_offsets
from fastlic.export.students.fu2023 import Fu2023

QUANTILE_RATE = 1e-3
STEP_COLUMNS = ("iteration", "loss", "bpp", "z_share", "psnr", "imitation", "learning_rate", "seconds")
WATCH_COLUMNS = (
    "iteration", "loss", "bpp", "z_share", "psnr", "mse", "bits_z", "bits_anchor", "bits_nonanchor",
    "zero_channels", "largest", "rare",
)  # fmt: skip


class Trainer:
    """A run in progress: networks, optimiser, generators and the iteration that comes next."""

    def __init__(self, run: Run, crops: Crops) -> None:
        """Build the networks and go on from the run's last state where there is one.

        Raises:
            CheckpointError: the start, the teacher or the state cannot be read or does not fit.
            ConfigurationError: patches are larger than crops, or a parameter prefix fits no parameter.
        """
        self.run = run
        self.crops = crops
        if run.data.patch > crops.side:
            raise ConfigurationError(
                f"data.patch: {run.data.patch} is larger than the crops, {crops.side}. Make it smaller"
            )
        torch.manual_seed(run.seed)
        self.device = torch.device(run.device)
        self.configuration = {"student": Fu2023.family, **FIXED, **run.student}
        self.model = self._begin().to(self.device).train()
        self.teacher = checkpoint.load(run.teacher.checkpoint).model.to(self.device) if run.teacher else None
        self.joint = run.teacher is not None and run.teacher.joint
        self.average = Average(self.model, run.optimiser.ema)
        self.optimiser, self.clipped = self._make_optimiser()
        self.drawing = torch.Generator().manual_seed(run.seed)
        self.noise = torch.Generator(self.device).manual_seed(run.seed)
        self.iteration = 0
        self.state_path = run.output / "state.pt"
        run.output.mkdir(parents=True, exist_ok=True)
        if self.state_path.is_file():
            self._restore(state.load(self.state_path))

    def _begin(self) -> Fu2023:
        model = from_configuration(self.configuration)
        if self.run.start is None:
            return model
        begun = checkpoint.load(self.run.start.checkpoint).model.state_dict()
        fresh = self.run.start.fresh
        kept = {key: value for key, value in begun.items() if not (fresh and key.startswith(fresh))}
        own = model.state_dict()
        misfit = [key for key, value in kept.items() if key not in own or own[key].shape != value.shape]
        if misfit:
            raise CheckpointError(
                f"{self.run.start.checkpoint}: {misfit[0]!r} does not fit the student. Correct [student]"
            )
        model.load_state_dict(kept, strict=False)
        return model

    def _make_optimiser(self) -> tuple[torch.optim.Optimizer, list[nn.Parameter]]:
        prefixes = self.run.optimiser.train
        trained = []
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(not prefixes or name.startswith(prefixes))
            if parameter.requires_grad and not name.endswith("quantiles"):
                trained.append(parameter)
        if not trained:
            raise ConfigurationError(f"optimiser.train: {list(prefixes)} fits no parameter")
        quantiles = [self.model.entropy_bottleneck.quantiles]
        if self.teacher is not None:
            self.teacher.train(self.joint).requires_grad_(self.joint)
            if self.joint:
                trained += [p for name, p in self.teacher.named_parameters() if not name.endswith("quantiles")]
                quantiles.append(self.teacher.entropy_bottleneck.quantiles)
        groups: list[dict[str, Any]] = [{"params": trained}, {"params": quantiles, "lr": QUANTILE_RATE}]
        return torch.optim.Adam(groups, lr=self.run.optimiser.learning_rate), trained

    def step(self) -> dict[str, float]:
        """One iteration.

        Returns:
            Its row of the table of steps, without the time.
        """
        settings, data = self.run.optimiser, self.run.data
        rate = learning_rate(self.iteration, settings)
        self.optimiser.param_groups[0]["lr"] = rate
        for model in (self.model, self.average.model, self.teacher if self.joint else None):
            if model is not None:
                enable_offsets(model, self.iteration >= settings.offsets_from)
        picture = self.crops.batch(data.batch, data.patch, data.zoom, self.drawing).to(self.device)
        own, imitated, total = self._losses(picture)
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()
        norm = nn.utils.clip_grad_norm_(self.clipped, settings.clip)
        # A step on a batch that overflowed would spoil every weight and its average for good.
        if bool(torch.isfinite(norm)):
            self.optimiser.step()
        self.average.update(self.model, self.iteration)
        self.iteration += 1
        mse = max(float(own.mse), 1e-9)
        return {
            "iteration": self.iteration,
            "loss": float(own.total),
            "bpp": float(own.bpp),
            "z_share": float(own.z_bpp / own.bpp),
            "psnr": float(10 * torch.log10(torch.tensor(255.0**2 / mse))),
            "imitation": imitated,
            "learning_rate": rate,
        }

    def _losses(self, picture: Tensor) -> tuple[RateDistortion, float, Tensor]:
        run = self.run
        with torch.autocast(run.device, torch.bfloat16, enabled=run.optimiser.bfloat16):
            coded = self.model(picture, _straight_through, self._noisy)
        own = rate_distortion(coded, picture, run.loss, self.iteration)
        total = own.total + self.model.entropy_bottleneck.quantile_loss()
        imitated = 0.0
        if self.teacher is not None and run.teacher is not None:
            learning = self.iteration < run.teacher.iterations
            if learning or self.joint:
                with (
                    torch.set_grad_enabled(self.joint),
                    torch.autocast(run.device, torch.bfloat16, enabled=run.optimiser.bfloat16),
                ):
                    taught = self.teacher(picture, _straight_through, self._noisy)
                if self.joint:
                    total = total + rate_distortion(taught, picture, run.loss, self.iteration).total
                    total = total + self.teacher.entropy_bottleneck.quantile_loss()
            if learning:
                distance = imitation(coded, taught, run.teacher)
                total = total + run.teacher.weight * distance
                imitated = float(distance)
        return own, imitated, total

    def _noisy(self, x: Tensor) -> Tensor:
        return x.float() + torch.rand(x.shape, generator=self.noise, device=x.device) - 0.5

    def save(self) -> None:
        """Write the state, and the averaged weights as a checkpoint that can be exported."""
        state.save(
            self.state_path,
            {
                "iteration": self.iteration,
                "model": self.model.state_dict(),
                "average": self.average.model.state_dict(),
                "teacher": self.teacher.state_dict() if self.teacher is not None and self.joint else None,
                "optimiser": self.optimiser.state_dict(),
                "drawing": self.drawing.get_state(),
                "noise": self.noise.get_state(),
            },
        )
        notes = {
            "name": self.run.name,
            "training": f"{self.iteration} iterations",
            "lambda_mse255": self.run.loss.trade_off,
        }
        state.publish(self.checkpoint_path, self.average.model.state_dict(), {**self.configuration, **notes})

    def _restore(self, saved: dict[str, Any]) -> None:
        try:
            self.model.load_state_dict(saved["model"])
            self.average.model.load_state_dict(saved["average"])
            if self.teacher is not None and self.joint:
                self.teacher.load_state_dict(saved["teacher"])
            self.optimiser.load_state_dict(saved["optimiser"])
        except (KeyError, RuntimeError, ValueError, TypeError) as error:
            raise CheckpointError(
                f"{self.state_path}: of another run ({error}). Choose another output folder"
            ) from error
        self.drawing.set_state(saved["drawing"])
        self.noise.set_state(saved["noise"])
        self.iteration = saved["iteration"]

    @property
    def checkpoint_path(self) -> Path:
        """Where the averaged weights are kept."""
        return self.run.output / f"{self.run.name}.pt"


def _straight_through(x: Tensor) -> Tensor:
    """Round, with the gradient of the identity."""
    x = x.float()
    return x + (torch.round(x) - x).detach()


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
    steps = journal.Table(run.output / "steps.csv", STEP_COLUMNS, trainer.iteration)
    watched = journal.Table(run.output / "watch.csv", WATCH_COLUMNS, trainer.iteration)
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
