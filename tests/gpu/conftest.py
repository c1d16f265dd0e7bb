"""Tests that need a GPU: without one each is skipped, and says why."""

from __future__ import annotations

from pathlib import Path

import pytest


def _absence() -> str | None:
    """Why there is no GPU to test on, or None."""
    try:
        import torch
    except ImportError:
        return "no GPU test without torch: pip install 'fastlic[export]'"
    if not torch.cuda.is_available():
        build = torch.version.cuda
        return f"no usable GPU: torch {torch.__version__} is built for {f'CUDA {build}' if build else 'CPU only'}"
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what lies in this folder, and only that."""
    here = [item for item in items if Path(__file__).parent in item.path.parents]
    reason = _absence() if here else None
    if reason is not None:
        for item in here:
            item.add_marker(pytest.mark.skip(reason=reason))
