"""Tests that need a GPU: without one each is skipped, and says why.

The kernels' own tests (tests/unit/kernels) run here again: they launch through the fixture `run`, here the GPU.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from gpu.device_kernels import DeviceKernels

from fastlic.errors import EngineUnavailable
from fastlic.kernels.cuda.driver import Device, open_device


def _absence() -> str | None:
    """Why there is no GPU to test on, or None."""
    try:
        open_device(0)
    except EngineUnavailable as reason:
        return f"no GPU to test on: {reason}"
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what lies in this folder, and only that."""
    here = [item for item in items if Path(__file__).parent in item.path.parents]
    reason = _absence() if here else None
    if reason is not None:
        for item in here:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def device() -> Device:
    """The first GPU."""
    return open_device(0)


@pytest.fixture(scope="session")
def run(device: Device) -> DeviceKernels:
    """Launches by plan on the GPU: `run(plan, arguments)`."""
    return DeviceKernels(device)
