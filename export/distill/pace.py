"""When things happen in a run: the learning rate of an iteration.

Knows numbers only.
"""

from __future__ import annotations

import math

from fastlic.export.distill.configuration import Optimiser


def learning_rate(iteration: int, settings: Optimiser) -> float:
    """A linear warm-up, then half a cosine or a straight line down to the final rate.

    Args:
        iteration: from 0.
        settings: `iterations`, `warm_up`, `decay` and both rates.

    Returns:
        The rate of this iteration.
    """
    if iteration < settings.warm_up:
        return settings.learning_rate * (iteration + 1) / settings.warm_up
    progress = min(1.0, (iteration - settings.warm_up) / max(1, settings.iterations - settings.warm_up))
    left = 1 - progress if settings.decay == "linear" else 0.5 * (1 + math.cos(math.pi * progress))
    return settings.final_learning_rate + (settings.learning_rate - settings.final_learning_rate) * left
