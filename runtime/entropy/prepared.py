"""A pass prepared in numpy: which elements are coded, in which order, and their cumulative frequencies.

Knows one pass; knows nothing of streams. The native module does the same faster (kernels/cpu/pass.h); this is its
readable twin, and takes its place where it was not built.
Rule: docs/format.md, section 3, points 1 to 4.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fastlic.errors import BundleError
from fastlic.kernels import reference
from fastlic.runtime.entropy.passes import Pass
from fastlic.runtime.entropy.tables import WINDOWS, MixtureTables, RowTables

CHUNK = 16384  # elements prepared at once: bounds the temporaries of a large pass


@dataclass(frozen=True)
class Prepared:
    """The n coded elements of a pass in coding order, and the values of the others.

    Attributes:
        fixed: int16 (C', h, w'): 0 in inactive channels, the substitute of skipped elements, anything elsewhere.
        index: int64 (n), positions in the flattened packed array.
        width: int64 (n), W.
        low: int64 (n), slot j is the value low + j.
        cdf: maps a slice of the n elements and slots, int64 (len, J), to C(slots), int64 of that shape.
    """

    fixed: np.ndarray
    index: np.ndarray
    width: np.ndarray
    low: np.ndarray
    cdf: Callable[[slice, np.ndarray], np.ndarray]


def prepare(pass_: Pass) -> Prepared:
    """Sort out and order the elements of a pass.

    Raises:
        BundleError: a row that the table does not have.
    """
    channels, height, width = pass_.shape
    active = np.ones(channels, np.bool_) if pass_.active is None else pass_.active
    candidates = np.flatnonzero(np.repeat(active, height * width))
    fixed = np.zeros(pass_.shape, np.int16)
    if isinstance(pass_.distribution, MixtureTables):
        return _prepare_mixture(pass_, pass_.distribution, candidates, fixed)
    return _prepare_rows(pass_, pass_.distribution, candidates, fixed)


def _prepare_mixture(pass_: Pass, tables: MixtureTables, candidates: np.ndarray, fixed: np.ndarray) -> Prepared:
    assert pass_.parameters is not None  # Pass has checked it
    packed = pass_.parameters.transpose(2, 0, 1, 3).reshape(-1, tables.parameter_count)
    parts, indices = [reference.prepare(tables, packed[:0])], [candidates[:0]]
    for start in range(0, len(candidates), CHUNK):
        chunk = candidates[start : start + CHUNK]
        elements = reference.prepare(tables, packed[chunk])
        skipped = reference.skipped(tables, elements, tables.skip_threshold)
        fixed.flat[chunk] = elements.centre
        parts.append(elements[~skipped])
        indices.append(chunk[~skipped])
    index = np.concatenate(indices)
    order = np.argsort(np.concatenate([part.window for part in parts]), kind="stable")
    elements = reference.concatenated(parts)[order]

    def cdf(which: slice, slots: np.ndarray) -> np.ndarray:
        return reference.cdf(tables, elements[which], slots)

    return Prepared(fixed, index[order], reference.WINDOWS[elements.window], elements.low, cdf)


def _prepare_rows(pass_: Pass, tables: RowTables, candidates: np.ndarray, fixed: np.ndarray) -> Prepared:
    if pass_.parameters is None:
        rows = candidates // max(1, fixed[0].size) if len(candidates) else candidates
    else:
        rows = pass_.parameters.transpose(2, 0, 1).reshape(-1)[candidates].astype(np.int64)
    if len(rows) and not 0 <= rows.min() <= rows.max() < len(tables.cdf):
        raise BundleError(f"a graph chose rows {rows.min()} to {rows.max()} of a table of {len(tables.cdf)}.")
    order = np.argsort(tables.window[rows], kind="stable")
    rows = rows[order]

    def cdf(which: slice, slots: np.ndarray) -> np.ndarray:
        return tables.cdf[rows[which][:, None], slots].astype(np.int64)

    return Prepared(
        fixed, candidates[order], tables.window[rows].astype(np.int64), tables.low[rows].astype(np.int64), cdf
    )


def runs(prepared: Prepared, share: slice, limit: int) -> list[slice]:
    """Cut a share of the coded elements into runs of one width.

    Args:
        prepared: the pass.
        share: of one stream.
        limit: number of cumulative frequencies, elements x width, that a run may have (one element always may).

    Returns:
        Slices in order which together are `share`.
    """
    found, start = [], share.start
    for width in WINDOWS:
        end = min(share.stop, int(np.searchsorted(prepared.width, width, side="right")))
        step = max(1, limit // width)
        found += [slice(at, min(at + step, end)) for at in range(start, end, step)]
        start = max(start, end)
    return found
