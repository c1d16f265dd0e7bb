"""What every test shares: which package is under test, and the pictures."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import fastlic.runtime

TESTS = Path(__file__).parent


def pytest_configure() -> None:
    """Refuse to test another installation than this working tree.

    A build of an older tree, installed elsewhere, would pass or fail for reasons that are not in these sources.
    """
    imported, here = Path(fastlic.runtime.__file__).resolve(), TESTS.parent / "runtime" / "__init__.py"
    if imported != here.resolve():
        raise pytest.UsageError(f"fastlic.runtime comes from {imported}, not {here}: run `pip install -e .` here first")


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers that are the same in each run."""
    return np.random.default_rng(20230417)


@pytest.fixture(scope="session")
def emulation() -> ModuleType:
    """The host emulator of CUDA kernels, tests/emulation/emulator.py; tests that ask for it need g++."""
    module = importlib.import_module("emulation.emulator")
    if module.compiler() is None:
        pytest.skip("no g++ to build kernels for the host")
    return module
