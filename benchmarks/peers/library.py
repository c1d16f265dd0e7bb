"""CompressAI in this process, as the reference of the students that come from it.

Knows which packages that library imports without needing them for its codecs: where they are missing, stand-ins take
their place. Times are taken in an environment of its own instead (`environment`), which has all it asks for.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from fastlic.benchmarks.peers.environment import PeerUnavailable

_NOT_NEEDED = ("einops", "matplotlib", "pandas", "requests", "scipy", "torch_geometric", "torchvision", "tqdm")


class _StandIns(MetaPathFinder, Loader):
    """Makes modules of missing packages out of nothing."""

    def __init__(self, packages: Sequence[str]) -> None:
        self._packages = packages

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """A module of one of the packages."""
        missing = fullname.partition(".")[0] in self._packages
        return ModuleSpec(fullname, self, is_package=True) if missing else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """A module that has every attribute."""
        module = mock.MagicMock(name=spec.name)
        module.__path__ = []
        return module

    def exec_module(self, module: ModuleType) -> None:
        """There is nothing to run."""


def models() -> Any:
    """The library's `compressai.models`.

    Raises:
        PeerUnavailable: it is not installed, or does not work here.
    """
    if importlib.util.find_spec("compressai") is None:
        raise PeerUnavailable("CompressAI is not installed: pip install --no-deps compressai==1.2.8")
    missing = [name for name in _NOT_NEEDED if name not in sys.modules and importlib.util.find_spec(name) is None]
    finder = _StandIns(missing)
    sys.meta_path.append(finder)
    try:
        return importlib.import_module("compressai.models")
    except Exception as error:
        raise PeerUnavailable(f"CompressAI cannot be imported: {type(error).__name__}: {error}") from error
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name, module in sys.modules.items() if isinstance(module, mock.MagicMock)]:
            del sys.modules[name]  # others must not find a stand-in


def load(path: Path, student: str) -> Any:
    """A checkpoint as the library's own model, in evaluation mode."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    return from_state(state.get("state_dict", state), student)


def from_state(state: dict[str, Tensor], student: str) -> Any:
    """A state dict as the library's own model, in evaluation mode; `student` is a name of `NAMES` of our exporter."""
    library = models()
    if student == "elic2022":  # its own `from_state_dict` knows one width only
        groups: list[int] = []
        while (key := f"latent_codec.y.latent_codec.y{len(groups)}.context_prediction.weight") in state:
            groups.append(int(state[key].shape[1]))
        model = library.Elic2022Official(N=int(state["g_a.0.weight"].shape[0]), M=sum(groups), groups=groups)
        model.load_state_dict(state)
        return model.eval()
    kinds = {
        "bmshj2018-factorized": library.FactorizedPrior,
        "bmshj2018-hyperprior": library.ScaleHyperprior,
        "mbt2018-mean": library.MeanScaleHyperprior,
        "cheng2020-anchor-checkerboard": library.Cheng2020AnchorCheckerboard,
    }
    return kinds[student].from_state_dict(state).eval()


@torch.no_grad()
def forward(model: Any, picture: Tensor) -> tuple[Tensor, Tensor, float]:
    """The library's own forward pass.

    Args:
        model: from `load`.
        picture: (1, 3, H, W) in [0, 1], H and W multiples of 64.

    Returns:
        The latent that its synthesis sees, (M, h, w); its picture (3, H, W), not clamped; bits of its likelihoods.
    """
    seen: list[Tensor] = []
    hook = model.g_s.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].clone()))
    try:
        given = model(picture)
    finally:
        hook.remove()
    bits = sum(float(-torch.log2(likelihood.double()).sum()) for likelihood in given["likelihoods"].values())
    return seen[0][0], given["x_hat"][0], bits
