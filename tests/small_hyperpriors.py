"""Small untrained students with a hyperprior, as lively as trained ones, and samples to calibrate their networks on."""

from __future__ import annotations

from unittest import mock

import numpy as np
import torch

from fastlic.export.students import from_configuration
from fastlic.export.students.hyperprior import Parts

CONFIGURATIONS = {
    "bmshj2018-hyperprior": {"N": 4, "M": 6},
    "mbt2018-mean": {"N": 4, "M": 6},
    "cheng2020-anchor-checkerboard": {"N": 4},
    "elic2022": {"N": 4, "M": 6, "groups": [1, 2, 3]},
}
CONTEXT_WIDTHS = (7, 5)


def student(name: str) -> torch.nn.Module:
    """One student in evaluation mode; elic2022's channel contexts are narrower than its library's."""
    torch.manual_seed(6)
    with mock.patch("fastlic.export.students.elic2022.CONTEXT_WIDTHS", CONTEXT_WIDTHS):
        model = from_configuration({"student": name, **CONFIGURATIONS[name]}).eval()
    with torch.no_grad():
        for key, value in model.named_parameters():
            if key.endswith("quantiles"):
                value[:, 0, 1] = torch.linspace(-1.4, 2.3, len(value))
            elif value.ndim == 4 and not key.startswith("g_"):
                value.mul_(1.5)
    return model


def samples(parts: Parts, count: int, rows: int, columns: int, seed: int = 0) -> list[dict[str, np.ndarray]]:
    """Tensors as an analysis gives them: z int16, y_float float32 of rows x columns elements, multiples of 4."""
    generator = np.random.default_rng(seed)
    return [
        {
            "z": np.round(generator.laplace(0, 2, (parts.hyper_channels, rows // 4, columns // 4))).astype(np.int16),
            "y_float": generator.laplace(0, 2, (parts.channels, rows, columns)).astype(np.float32),
        }
        for _ in range(count)
    ]
