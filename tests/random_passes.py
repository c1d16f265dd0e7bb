"""Tables of any kind, and passes with the statistics of a trained student or worse."""

from __future__ import annotations

import numpy as np
import tiny_student

from fastlic.runtime.entropy.passes import Pass
from fastlic.runtime.entropy.tables import MAX_COMPONENTS, WINDOWS, MixtureTables, RowTables

GLLMM = ("normal", "laplace", "logistic")


def mixture_tables(
    families: tuple[str, ...] = GLLMM, components: int = 3, skip_threshold: int = 65472
) -> MixtureTables:
    """Tables of any choice of families and components."""
    return MixtureTables(families, components, skip_threshold, **tiny_student.mixture_tables(families))


def row_tables(rng: np.random.Generator, rows: int) -> RowTables:
    """Random rows of all widths."""
    window = rng.choice(WINDOWS, rows).astype(np.int16)
    cdf = np.full((rows, 513), 65536, np.int32)
    for row, width in enumerate(window):
        cdf[row, 0] = 0
        cdf[row, 1:width] = 1 + np.sort(rng.choice(65535, width - 1, replace=False))
    return RowTables(cdf, window, rng.integers(-300, 300, rows).astype(np.int16))


def random_parameters(
    rng: np.random.Generator, shape: tuple[int, ...], tables: MixtureTables, wild: bool
) -> np.ndarray:
    """int16 (*shape, P): plausible logits, means and scales, or anything that int16 holds."""
    if wild:
        bounds = np.iinfo(np.int16)
        return rng.integers(bounds.min, bounds.max, (*shape, tables.parameter_count), np.int16, endpoint=True)
    families, count = len(tables.families), len(tables.families) * tables.components
    logits = rng.normal(0, 40, (*shape, count))
    means = rng.normal(0, 100, (*shape, 1)) + rng.normal(0, 20, (*shape, count))
    scales = rng.normal(-60, 120, (*shape, 1)) + rng.normal(0, 40, (*shape, count))
    family_logits = rng.normal(0, 30, (*shape, families if families > 1 else 0))
    return np.round(np.concatenate([logits, means, scales, family_logits], axis=-1)).astype(np.int16)


def random_values(rng: np.random.Generator, shape: tuple[int, int, int], extreme: float) -> np.ndarray:
    """int16 latents, a share of them anywhere in the allowed range and a little beyond."""
    values = np.round(rng.laplace(0, 3, shape))
    anywhere = rng.integers(-16400, 16401, shape)
    return np.where(rng.random(shape) < extreme, anywhere, values).astype(np.int16)


def random_pass(seed: int) -> tuple[Pass, np.ndarray]:
    """One pass of any kind and its values, small enough for the slow reader."""
    rng = np.random.default_rng(seed)
    channels, height, width = (int(n) for n in rng.integers((1, 0, 1), (7, 5, 6)))
    shape = (channels, height, width)
    active = rng.random(channels) < 0.7 if rng.random() < 0.5 else None
    values = random_values(rng, shape, extreme=rng.choice([0.0, 0.02, 1.0]))
    kind = rng.integers(0, 8)
    if kind == 0:
        return Pass(row_tables(rng, channels + 2), None, shape, active), values
    if kind == 1:
        rows = rng.integers(0, 9, (height, width, channels)).astype(np.int16)
        return Pass(row_tables(rng, 9), rows, shape, active), values
    families = tuple(rng.permutation(GLLMM)[: rng.integers(1, 4)].tolist())
    components = int(rng.integers(1, MAX_COMPONENTS // len(families) + 1)) if kind == 2 else int(rng.integers(1, 4))
    tables = mixture_tables(families, components, skip_threshold=int(rng.choice([65472, 65536, 30000, 1])))
    parameters = random_parameters(rng, (height, width, channels), tables, wild=bool(rng.random() < 0.3))
    return Pass(tables, parameters, shape, active), values
