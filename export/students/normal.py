"""Normal distributions around predicted means, as students that code residuals are trained with.

Knows likelihoods of rounded residuals; knows nothing of networks. What is exported of it is scales and means
(`integer.program`), so the bounds are the same here and there.
"""

from __future__ import annotations

from torch import Tensor

from fastlic.export.students.likelihood import LIKELIHOOD_FLOOR, SCALE_FLOOR, cumulative, lower_bound


def normal_likelihood(values: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """Probability of each value's unit interval, any shape, at least 1e-9; scales count as at least 0.11."""
    distance, spread = (values - mean).abs(), lower_bound(scale, SCALE_FLOOR)
    interval = cumulative("normal", (0.5 - distance) / spread) - cumulative("normal", (-0.5 - distance) / spread)
    return lower_bound(interval, LIKELIHOOD_FLOOR)
