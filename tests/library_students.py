"""Small models made by CompressAI itself, as checkpoints to load; tests that use them skip where it is missing."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fastlic.benchmarks.peers import library
from fastlic.benchmarks.peers.environment import PeerUnavailable
from fastlic.export.students.compressai import NAMES

N, M = 8, 12
GROUPS = (2, 2, 2, 2, 4)
"""Of elic2022."""

every_student = pytest.mark.parametrize("student", NAMES)


def _make(models: Any, name: str) -> nn.Module:
    if name == "elic2022":
        return models.Elic2022Official(N, M, groups=GROUPS)
    narrow = {"cheng2020-anchor-checkerboard": "Cheng2020AnchorCheckerboard", "cheng2020-anchor": "Cheng2020Anchor"}
    if name in narrow:
        return getattr(models, narrow[name])(N)
    kinds = {
        "bmshj2018-factorized": "FactorizedPrior",
        "bmshj2018-factorized-relu": "FactorizedPriorReLU",
        "bmshj2018-hyperprior": "ScaleHyperprior",
        "mbt2018-mean": "MeanScaleHyperprior",
        "mbt2018": "JointAutoregressiveHierarchicalPriors",
    }
    if name == "elic2022-chandelier":
        return models.Elic2022Chandelier(N, M, groups=GROUPS)
    return getattr(models, kinds[name])(N, M)


@functools.cache
def made(name: str) -> Any:
    """One of the library's models, random but lively: symbols of several levels, medians off the integers."""
    try:
        models = library.models()
    except PeerUnavailable as reason:
        pytest.skip(str(reason))
    torch.manual_seed(4)
    model = _make(models, name).eval()
    with torch.no_grad():
        for key, value in model.named_parameters():
            if key.endswith("quantiles"):
                value[:, 0, 1] = torch.linspace(-1.4, 2.3, len(value))
            elif value.ndim == 4:  # the library's initialisation shrinks the signal at each layer
                value.mul_(8.0 if key == "g_a.6.weight" else 1.5 if key.startswith("g_s.") else 2.0)
    return model


def state_of(name: str) -> dict[str, Tensor]:
    """A copy of a model's state dict."""
    return {key: value.clone() for key, value in made(name).state_dict().items()}
