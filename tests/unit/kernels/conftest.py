"""The shipped CUDA kernels, emulated."""

from __future__ import annotations

from types import ModuleType

import pytest
from emulation.kernels import Kernels


@pytest.fixture(scope="session")
def run(emulation: ModuleType) -> Kernels:
    """Launches by plan: `run(plan, arguments)`."""
    assert emulation.compiler() is not None
    return Kernels()
