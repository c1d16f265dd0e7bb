"""The teacher of a run: what imitating it adds to the loss, and its own loss where it goes on training.

Source: Fu et al. 2023: step 2 trains teacher and equal student jointly, step 3 teaches a reduced student.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from fastlic.errors import CheckpointError
from fastlic.export import checkpoint
from fastlic.export.distill.alignment import Alignment, Features, listening
from fastlic.export.distill.configuration import Loss, Teacher
from fastlic.export.distill.losses import imitation, rate_distortion
from fastlic.export.students.fu2023 import Coded, Fu2023

Evaluate = Callable[[Fu2023, Tensor], Coded]


class Teaching:
    """A teacher in a run: frozen, or trained beside its student with `joint`."""

    def __init__(self, settings: Teacher, loss: Loss, student: Fu2023) -> None:
        """Load the teacher, on the student's device.

        Raises:
            CheckpointError: it cannot be loaded, or has another number of latent channels than the student.
        """
        self.settings = settings
        self.loss = loss
        self.model = checkpoint.load(settings.checkpoint).model.to(next(student.parameters()).device)
        theirs, ours = self.model.configuration.M, student.configuration.M
        if theirs != ours:
            raise CheckpointError(
                f"{settings.checkpoint}: the teacher has M = {theirs}, the student {ours}. "
                "Their latents are compared: give both one M"
            )
        self.model.train(settings.joint).requires_grad_(settings.joint)
        self.alignment = Alignment(student, self.model).to(self.device) if settings.features else None
        self.followed: Features = {}

    @property
    def device(self) -> torch.device:
        """Where everything is computed."""
        return self.model.entropy_bottleneck.quantiles.device

    def networks(self) -> list[nn.Module]:
        """Every network that changes beside the student."""
        joint: list[nn.Module] = [self.model] if self.settings.joint else []
        return joint + ([self.alignment] if self.alignment is not None else [])

    def parameters(self) -> list[nn.Parameter]:
        """What is trained beside the student, quantiles of the teacher's prior aside."""
        named = [item for network in self.networks() for item in network.named_parameters()]
        return [parameter for name, parameter in named if not name.endswith("quantiles")]

    def quantiles(self) -> list[nn.Parameter]:
        """The quantiles of the teacher's prior; empty when it is frozen."""
        return [self.model.entropy_bottleneck.quantiles] if self.settings.joint else []

    def follow(self, student: Fu2023, picture: Tensor, evaluate: Evaluate) -> Coded:
        """Evaluate the student as `evaluate` does, and keep the features that alignment compares."""
        if self.alignment is None:
            return evaluate(student, picture)
        with listening(student) as self.followed:
            return evaluate(student, picture)

    def add(self, coded: Coded, picture: Tensor, iteration: int, evaluate: Evaluate) -> tuple[Tensor, float]:
        """What the teacher adds to a student's loss.

        Args:
            coded: the student's evaluation by `follow`.
            picture: (B, 3, H, W) float in [0, 1].
            iteration: decides whether the student still learns from the teacher.
            evaluate: evaluates a network on a picture as the student was.

        Returns:
            A scalar to add, and the distance of student and teacher, 0 when it no longer counts.
        """
        added = torch.zeros((), device=picture.device)
        learning = iteration < self.settings.iterations
        if not (learning or self.settings.joint):
            return added, 0.0
        with torch.set_grad_enabled(self.settings.joint), listening(self.model) as features:
            taught = evaluate(self.model, picture)
        if self.settings.joint:
            added = rate_distortion(taught, picture, self.loss, iteration).total
            added = added + self.model.entropy_bottleneck.quantile_loss()
        if not learning:
            return added, 0.0
        distance = imitation(coded, taught, self.settings)
        if self.alignment is not None:
            distance = distance + self.settings.features * self.alignment(self.followed, features)
        return added + self.settings.weight * distance, distance.item()
