"""What the integer kernels of a pass compute, in NumPy; equal bit for bit.

Each function has the name (without the instance) and the arguments of its kernel (plugin ABI: inputs, int32 scalars,
outputs) and fills the outputs. Rules: docs/format.md, sections 3 and 4.2; the arithmetic of a mixture is
`fastlic.kernels.reference`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastlic.kernels import reference

CLASSES = len(reference.WINDOWS)
NOT_CODED = CLASSES
BLOCK = 256  # elements that are counted together
ALL, EVEN, ODD = range(3)  # parity


@dataclass(frozen=True)
class DeviceTables:
    """The tables of a mixture as kernels get them; `families` counts only, names play no part in arithmetic."""

    families: tuple[str, ...]
    components: int
    exponential: np.ndarray
    thresholds: np.ndarray
    inverse_scale: np.ndarray
    tail: np.ndarray
    half_cdf: np.ndarray


def mixture_classify(
    parameters: np.ndarray,
    active: np.ndarray,
    exponential: np.ndarray,
    thresholds: np.ndarray,
    inverse_scale: np.ndarray,
    tail: np.ndarray,
    half_cdf: np.ndarray,
    channels: int,
    height: int,
    width: int,
    skip_threshold: int,
    kinds: np.ndarray,
    modes: np.ndarray,
    counts: np.ndarray,
) -> None:
    """K1: which elements are coded, and what the others are set to.

    Args:
        parameters: int16 (height, width, channels, P).
        active: uint8 (channels,), 0 where a channel is not coded.
        exponential: this and the next four are the tables of docs/format.md, section 4.2.
        thresholds: int16 (families, 63).
        inverse_scale: uint32 (families, 64).
        tail: int32 (families, 64).
        half_cdf: uint16 (families, 514).
        channels: of the packed array.
        height: likewise.
        width: likewise.
        skip_threshold: an element whose central slot has at least this frequency is not coded.
        kinds: uint8 (channels, height, width), filled: 0 to 6 the window class of a coded element, 7 not coded.
        modes: int16 (channels, height, width), filled: the central slot's value; 0 in inactive channels.
        counts: int32 (7, blocks), filled: coded elements of each class in each 256 elements.
    """
    tables = _tables(parameters, exponential, thresholds, inverse_scale, tail, half_cdf)
    elements = reference.prepare(tables, _by_channel(parameters))
    coded = ~reference.skipped(tables, elements, skip_threshold)
    is_active = np.repeat(active != 0, height * width)
    kinds.flat[:] = np.where(is_active & coded, elements.window, NOT_CODED)
    modes.flat[:] = np.where(is_active, elements.centre, 0)
    padded = np.full(counts.shape[1] * BLOCK, NOT_CODED, np.uint8)
    padded[: kinds.size] = kinds.reshape(-1)
    for window in range(CLASSES):
        counts[window] = (padded.reshape(-1, BLOCK) == window).sum(axis=1)


def scan_counts(counts: np.ndarray, blocks: int, offsets: np.ndarray, starts: np.ndarray) -> None:
    """Between K1 and K2: where the coded elements of each class and block go.

    Args:
        counts: int32 (7, blocks).
        blocks: of 256 elements.
        offsets: int32 (7, blocks), filled: the sum of all counts before.
        starts: int32 (8,), filled: the first coded element of each class; then the number of coded elements.
    """
    sums = np.concatenate([[0], counts.reshape(-1).cumsum()])
    offsets.flat[:] = sums[:-1]
    starts[:] = sums[::blocks]


def mixture_rows(
    parameters: np.ndarray,
    exponential: np.ndarray,
    thresholds: np.ndarray,
    inverse_scale: np.ndarray,
    tail: np.ndarray,
    half_cdf: np.ndarray,
    kinds: np.ndarray,
    offsets: np.ndarray,
    starts: np.ndarray,
    channels: int,
    height: int,
    width: int,
    capacity: int,
    elements: np.ndarray,
    rows: np.ndarray,
) -> None:
    """K2: the coded elements in coding order, and a row of cumulative frequencies for each.

    Args:
        parameters: as in `mixture_classify`, like the tables and the sizes.
        exponential: a table.
        thresholds: a table.
        inverse_scale: a table.
        tail: a table.
        half_cdf: a table.
        kinds: uint8 (channels, height, width), of `mixture_classify`.
        offsets: int32 (7, blocks), of `scan_counts`; not needed here, since sorting gives the order.
        starts: int32 (8,), of `scan_counts`; likewise.
        channels: of the packed array.
        height: likewise.
        width: likewise.
        capacity: entries of `rows`.
        elements: int32 (size,); the first starts[7] are filled with element numbers.
        rows: uint16 (capacity,): per coded element low (as int16), C(1), ..., C(W - 1); what does not fit is left out.
    """
    tables = _tables(parameters, exponential, thresholds, inverse_scale, tail, half_cdf)
    order = np.argsort(kinds, axis=None, kind="stable")[: int((kinds != NOT_CODED).sum())]
    elements[: len(order)] = order
    prepared = reference.prepare(tables, _by_channel(parameters)[order])
    end = 0
    for window in range(CLASSES):
        same = prepared[prepared.window == window]
        if not len(same.centre):
            continue
        size = int(reference.WINDOWS[window])
        block = reference.cdf(tables, same, np.broadcast_to(np.arange(size), (len(same.centre), size)))
        block[:, 0] = same.low & 0xFFFF
        fitting = max(0, min(len(block), (capacity - end) // size))
        rows[end : end + fitting * size] = block[:fitting].reshape(-1)
        end += len(block) * size


def scatter_symbols(
    kinds: np.ndarray,
    modes: np.ndarray,
    elements: np.ndarray,
    starts: np.ndarray,
    symbols: np.ndarray,
    channels: int,
    height: int,
    width: int,
    parity: int,
    first_channel: int,
    y: np.ndarray,
) -> None:
    """K4: a decoded pass back into the latent.

    Args:
        kinds: uint8 (channels, height, width), of `mixture_classify`.
        modes: int16 (channels, height, width), likewise.
        elements: int32, of `mixture_rows`.
        starts: int32 (8,), of `scan_counts`; the last is the number n of coded elements.
        symbols: int16 (n,), decoded values in coding order.
        channels: of the packed array.
        height: likewise.
        width: likewise.
        parity: 0 all, 1 even, 2 odd.
        first_channel: of the latent.
        y: int16 (all channels, height, latent width); only the elements of the pass are changed.
    """
    packed = np.where(kinds == NOT_CODED, modes, 0)
    packed.flat[elements[: starts[-1]]] = symbols[: starts[-1]]
    rows, columns = latent_places(height, width, parity)
    y[first_channel : first_channel + channels, rows, columns] = packed


def context_gather(y: np.ndarray, channels: int, height: int, width: int, parity: int, taps: np.ndarray) -> None:
    """The neighbours that a 5x5 checkerboard context sees.

    Args:
        y: int16 (channels, height, 2 * width).
        channels: of y.
        height: likewise.
        width: half of its width.
        parity: of the elements whose neighbours are gathered: 1 even, 2 odd.
        taps: int16 (height, width, 12, channels), filled: the places of the other parity row by row, 0 outside.
    """
    padded = np.pad(y, ((0, 0), (2, 2), (2, 2)))
    rows, columns = latent_places(height, width, parity)
    places = [(r, c) for r in range(5) for c in range(5) if (r + c) % 2]
    for tap, (r, c) in enumerate(places):
        taps[:, :, tap] = padded[:, rows + r, columns + c].transpose(1, 2, 0)


def latent_places(height: int, width: int, parity: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns, each int64 (height, width), of the latent's elements that a packed array stands for."""
    rows = np.repeat(np.arange(height)[:, None], width, axis=1)
    columns = np.repeat(np.arange(width)[None], height, axis=0)
    return rows, columns if parity == ALL else 2 * columns + ((rows + (parity == ODD)) & 1)


def _tables(
    parameters: np.ndarray,
    exponential: np.ndarray,
    thresholds: np.ndarray,
    inverse_scale: np.ndarray,
    tail: np.ndarray,
    half_cdf: np.ndarray,
) -> DeviceTables:
    """The tables as one object; the number of components follows from P = 3 K, plus the families if several."""
    families = len(thresholds)
    count = (parameters.shape[-1] - (families if families > 1 else 0)) // 3
    names = ("",) * families
    return DeviceTables(names, count // families, exponential, thresholds, inverse_scale, tail, half_cdf)


def _by_channel(parameters: np.ndarray) -> np.ndarray:
    """Parameters (height, width, channels, P) of elements numbered by channel, row, column: (size, P)."""
    return parameters.transpose(2, 0, 1, 3).reshape(-1, parameters.shape[-1])
