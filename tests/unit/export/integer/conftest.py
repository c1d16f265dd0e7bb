"""Tiny networks on the integer lattice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from fastlic.export.integer.folding import FoldedNetwork, fold
from fastlic.export.integer.quantisation import Quantised, calibrate, quantise
from fastlic.export.students.fu2023 import Fu2023


@dataclass(frozen=True)
class Converted:
    """A student, its folded networks, its integer networks, and latents that were not calibrated on."""

    model: Fu2023
    folded: FoldedNetwork
    quantised: Quantised
    z: np.ndarray
    y: np.ndarray


def made_latents(model: Fu2023, rows: int, columns: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Z int16 (Cz, rows / 4, columns / 4) and y int16 (M, rows, columns) of plausible sizes."""
    generator = np.random.default_rng(seed)
    z = generator.laplace(0, 2, (model.configuration.hyper_channels, rows // 4, columns // 4))
    y = generator.laplace(0, 3, (model.configuration.M, rows, columns))
    return np.round(z).astype(np.int16), np.round(y).astype(np.int16)


def converted(model: Fu2023) -> Converted:
    """Calibrate and quantise a student on made-up latents."""
    folded = fold(model)
    ranges = calibrate(folded, (made_latents(model, 32, 48, seed) for seed in range(1, 7)))
    z, y = made_latents(model, 12, 16, seed=0)
    return Converted(model, folded, quantise(folded, ranges), z, y)


@pytest.fixture(scope="session")
def tiny_converted(tiny: Fu2023) -> Converted:
    """The plain tiny student."""
    return converted(tiny)


@pytest.fixture(scope="session")
def variant_converted(variant: Fu2023) -> Converted:
    """Every kind of configuration."""
    return converted(variant)


@pytest.fixture(scope="session", name="made_latents")
def made_latents_fixture() -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """`made_latents`, for tests."""
    return made_latents
