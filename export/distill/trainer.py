"""A run in progress: networks, optimiser and generators, one iteration at a time, from and to a state on disk.

Knows the order of things within an iteration; data, losses, the teacher and files are told apart in their own modules.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fastlic.errors import CheckpointError, ConfigurationError
from fastlic.export.distill import state
from fastlic.export.distill.averaging import Average
from fastlic.export.distill.configuration import Run
from fastlic.export.distill.data import Crops
from fastlic.export.distill.losses import rate_distortion
from fastlic.export.distill.optimisers import Optimisers
from fastlic.export.distill.pace import learning_rate
from fastlic.export.distill.starting import take_over
from fastlic.export.distill.teaching import Teaching
from fastlic.export.students import from_configuration
from fastlic.export.students.configuration import FIXED
from fastlic.export.students.deform import enable_offsets, zero_offsets
from fastlic.export.students.fu2023 import Coded, Fu2023


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
        self.teaching = Teaching(run.teacher, run.loss, self.model) if run.teacher else None
        self.average = Average(self.model, run.optimiser.ema)
        self.optimisers, self.clipped = self._make_optimisers()
        self.drawing = torch.Generator().manual_seed(run.seed)
        self.noise = torch.Generator(self.device).manual_seed(run.seed)
        self.iteration = 0
        self.state_path = run.output / "state.pt"
        run.output.mkdir(parents=True, exist_ok=True)
        if self.state_path.is_file():
            self._restore(state.load(self.state_path))
        self._follow_pace()

    def _begin(self) -> Fu2023:
        model = from_configuration(self.configuration)
        if self.run.start is not None:
            take_over(model, self.run.start)
        if self.run.optimiser.offsets_from > 0:
            # What is kept before they are switched on must be the plain convolution that was trained.
            zero_offsets(model)
        return model

    def _make_optimisers(self) -> tuple[Optimisers, list[nn.Parameter]]:
        prefixes = self.run.optimiser.train
        trained: list[nn.Parameter] = []
        prior: list[nn.Parameter] = []
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(not prefixes or name.startswith(prefixes))
            if parameter.requires_grad and not name.endswith("quantiles"):
                (prior if name.startswith("entropy_bottleneck.") else trained).append(parameter)
        if not trained and not prior:
            raise ConfigurationError(f"optimiser.train: {list(prefixes)} fits no parameter")
        quantiles = [self.model.entropy_bottleneck.quantiles]
        if self.teaching is not None:
            trained += self.teaching.parameters()
            quantiles += self.teaching.quantiles()
        return Optimisers(self.run.optimiser.method, trained, prior, quantiles), trained + prior

    def step(self) -> dict[str, float]:
        """One iteration.

        Returns:
            Its row of the table of steps, without the time.
        """
        settings, data = self.run.optimiser, self.run.data
        rate = learning_rate(self.iteration, settings)
        self.optimisers.set_rates(rate, rate * settings.prior)
        self._follow_pace()
        picture = self.crops.batch(data.batch, data.patch, data.zoom, self.drawing).to(self.device)
        coded = self._evaluate_student(picture)
        own = rate_distortion(coded, picture, self.run.loss, self.iteration)
        total = own.total + self.model.entropy_bottleneck.quantile_loss()
        imitated = 0.0
        if self.teaching is not None:
            added, imitated = self.teaching.add(coded, picture, self.iteration, self._evaluate)
            total = total + added
        self.optimisers.zero_grad()
        total.backward()
        norm = nn.utils.clip_grad_norm_(self.clipped, settings.clip)
        # A step on a batch that overflowed would spoil every weight and its average for good.
        if bool(torch.isfinite(norm)):
            self.optimisers.step()
        self.average.update(self.model, self.iteration)
        self.iteration += 1
        return {
            "iteration": self.iteration,
            "loss": own.total.item(),
            "bpp": own.bpp.item(),
            "z_share": (own.z_bpp / own.bpp).item(),
            "psnr": 10 * math.log10(255**2 / max(own.mse.item(), 1e-9)),
            "imitation": imitated,
            "learning_rate": rate,
        }

    def _follow_pace(self) -> None:
        """Switch the student's offsets on or off as the coming iteration asks; a teacher has learnt its own."""
        for model in (self.model, self.average.model):
            enable_offsets(model, self.iteration >= self.run.optimiser.offsets_from)

    def _networks(self) -> list[nn.Module]:
        """Every network that changes: those whose weights a state must hold."""
        taught_with = self.teaching.networks() if self.teaching is not None else []
        return [self.model, self.average.model, *taught_with]

    def _evaluate_student(self, picture: Tensor) -> Coded:
        if self.teaching is None:
            return self._evaluate(self.model, picture)
        return self.teaching.follow(self.model, picture, self._evaluate)

    def _evaluate(self, model: Fu2023, picture: Tensor) -> Coded:
        with torch.autocast(self.run.device, torch.bfloat16, enabled=self.run.optimiser.bfloat16):
            return model(picture, _straight_through, self._noisy if self.run.loss.rate == "noise" else None)

    def _noisy(self, x: Tensor) -> Tensor:
        return x.float() + torch.rand(x.shape, generator=self.noise, device=x.device) - 0.5

    def save(self) -> None:
        """Write the state, and the averaged weights as a checkpoint that can be exported."""
        state.save(
            self.state_path,
            {
                "iteration": self.iteration,
                "networks": [model.state_dict() for model in self._networks()],
                "optimisers": self.optimisers.state_dict(),
                "drawing": self.drawing.get_state(),
                "noise": self.noise.get_state(),
            },
        )
        notes: dict[str, Any] = {"name": self.run.name, "training": self._training()}
        if self.run.loss.distortion == "mse":
            notes["lambda_mse255"] = self.run.loss.trade_off
        state.publish(self.checkpoint_path, self.average.model.state_dict(), {**self.configuration, **notes})

    def _training(self) -> str:
        """A sentence for the student's card."""
        data, start, teacher = self.run.data, self.run.start, self.run.teacher
        parts = [f"{self.iteration} iterations of {data.batch} patches of {data.patch} x {data.patch}"]
        parts += [f"from {start.checkpoint.stem}"] if start else []
        parts += [f"taught by {teacher.checkpoint.stem}"] if teacher else []
        return ", ".join(parts)

    def _restore(self, saved: dict[str, Any]) -> None:
        try:
            for model, weights in zip(self._networks(), saved["networks"], strict=True):
                model.load_state_dict(weights)
            self.optimisers.load_state_dict(saved["optimisers"])
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
