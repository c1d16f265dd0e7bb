"""What a run begins with: weights of a checkpoint, all or in part, for this trade-off or another.

Knows the key names of Fu 2023 students; knows nothing of training.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fastlic.errors import CheckpointError
from fastlic.export import checkpoint
from fastlic.export.distill.configuration import Start
from fastlic.export.students.fu2023 import COMPONENTS, Fu2023
from fastlic.export.students.likelihood import FAMILIES

WRITES_LATENT = ("g_a.7.weight", "g_a.7.bias")
READS_LATENT = ("g_s.2.conv.weight", "g_s.2.shortcut.weight", "h_a.0.weight", "context.weight")


def take_over(model: Fu2023, start: Start) -> None:
    """Load a start's weights into a model.

    Raises:
        CheckpointError: the checkpoint cannot be loaded, does not fit the student, or its latent cannot be scaled.
    """
    begun = checkpoint.load(start.checkpoint).model.state_dict()
    if start.latent != 1:
        scale_latent(begun, start.latent, model)
    kept = {key: value for key, value in begun.items() if not (start.fresh and key.startswith(start.fresh))}
    own = model.state_dict()
    misfit = [key for key, value in kept.items() if key not in own or own[key].shape != value.shape]
    if misfit:
        raise CheckpointError(f"{start.checkpoint}: {misfit[0]!r} does not fit the student. Correct [student]")
    model.load_state_dict(kept, strict=False)


@torch.no_grad()
def scale_latent(state: dict[str, Tensor], factor: float, model: Fu2023) -> None:
    """Multiply the latent by `factor`, and make every network that reads it expect that.

    Rounding has then steps finer by that factor, so rate and quality are at once near those of another trade-off. Means
    follow exactly; scales s = softplus(x) + 0.11 as s(x + ln factor), exact where they are small, as most are.

    Args:
        state: weights of a student of `model`'s configuration, without attention or residual blocks; changed.
        factor: the root of the quotient of the trade-offs is a good choice.
        model: gives the layout of the parameters.

    Raises:
        CheckpointError: attention or a residual block stands between the latent and what would be scaled.
    """
    if model.configuration.attention or model.configuration.residual_blocks:
        raise CheckpointError(
            "start.latent: only a student without attention and residual blocks can be scaled. Leave it out"
        )
    for key in WRITES_LATENT:
        state[key] = state[key] * factor
    for key in READS_LATENT:
        state[key] = state[key] / factor
    last = 2 * len(model.configuration.pen_hidden)
    for pen, families in (("pen_anchor", len(FAMILIES)), ("pen_nonanchor", 1)):
        weight, bias = f"{pen}.{last}.weight", f"{pen}.{last}.bias"
        # (numbers, M, ...): numbers 3c + 1 are means and 3c + 2 scales before softplus.
        weights = state[weight].unflatten(0, (-1, model.configuration.M)).clone()
        biases = state[bias].unflatten(0, (-1, model.configuration.M)).clone()
        mixtures = slice(3 * COMPONENTS * families)
        weights[mixtures][1::3] *= factor
        biases[mixtures][1::3] *= factor
        biases[mixtures][2::3] += math.log(factor)
        state[weight], state[bias] = weights.flatten(0, 1), biases.flatten(0, 1)
