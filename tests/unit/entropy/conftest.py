"""What random_passes.py makes, as fixtures."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from random_passes import mixture_tables, random_parameters, random_pass, random_values, row_tables

from fastlic.kernels import native
from fastlic.runtime.entropy.passes import Pass
from fastlic.runtime.entropy.tables import MixtureTables, RowTables


@pytest.fixture(scope="session")
def tables_of() -> Callable[..., MixtureTables]:
    """Makes `MixtureTables`: see `mixture_tables`."""
    return mixture_tables


@pytest.fixture(scope="session")
def rows_of() -> Callable[..., RowTables]:
    """Makes `RowTables`: see `row_tables`."""
    return row_tables


@pytest.fixture(scope="session")
def parameters_of() -> Callable[..., np.ndarray]:
    """Makes parameters: see `random_parameters`."""
    return random_parameters


@pytest.fixture(scope="session")
def pass_of() -> Callable[[int], tuple[Pass, np.ndarray]]:
    """Makes a pass from a seed: see `random_pass`."""
    return random_pass


@pytest.fixture(scope="session")
def plain_pass() -> tuple[Pass, np.ndarray]:
    """A mixture pass of 8 x 8 x 8 coded elements and its values, about 1,500 bits."""
    rng = np.random.default_rng(5)
    tables = mixture_tables(skip_threshold=65536)
    pass_ = Pass(tables, random_parameters(rng, (8, 8, 8), tables, wild=False), (8, 8, 8))
    return pass_, random_values(rng, (8, 8, 8), extreme=0.01)


@pytest.fixture(scope="session")
def built() -> None:
    """Skips where the native module was not built; `make test` builds it."""
    if not native.available():
        pytest.skip("the native module was not built")
