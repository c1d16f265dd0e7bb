"""Read the streams of one tile.

Knows the two readers and what both promise; knows nothing of the schedule that makes the passes. They give the
same symbols; which one is used is the caller's choice, never made here.
Rule: docs/format.md, section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np

from fastlic.errors import BundleError, CorruptedStream
from fastlic.kernels import native
from fastlic.runtime.entropy.passes import MAX_STREAMS, Pass
from fastlic.runtime.entropy.tables import MixtureTables

Backend = Literal["native", "constriction"]


class StreamReader(Protocol):
    """Reads passes in the order in which they were written."""

    def code(self, pass_: Pass) -> np.ndarray:
        """Read a pass.

        Returns:
            int16 (C', h, w').

        Raises:
            CorruptedStream: no writer wrote these bytes; which stream, and why. The reader is of no use afterwards.
            BundleError: the pass does not fit its tables.
        """

    def finish(self) -> None:
        """Raise `CorruptedStream` unless every stream ends exactly here."""


class NativeReader:
    """Reads with the native module, the interpreter lock released.

    Args:
        streams: bytes of each.
        threads: at most so many are used, in preparing a pass and over streams.

    Raises:
        EngineUnavailable: the native module was not built.
    """

    def __init__(self, streams: Sequence[bytes | memoryview], threads: int) -> None:
        self._reader = native.module().Reader(streams, threads)

    def code(self, pass_: Pass) -> np.ndarray:
        """Read a pass; see `StreamReader.code`."""
        tables = pass_.distribution
        read = self._reader.read_mixture if isinstance(tables, MixtureTables) else self._reader.read_rows
        try:
            return read(tables.native, pass_.shape, pass_.parameters, pass_.active)
        except IndexError as error:
            raise BundleError(f"a graph chose {error}.") from None

    def code_rows(self, rows: np.ndarray, starts: np.ndarray) -> np.ndarray:
        """Read the coded elements of a mixture pass that a GPU has prepared.

        Args:
            rows: uint16, C-contiguous: per coded element, in coding order, low, C(1), ..., C(W - 1), without gaps.
            starts: int32 (8): first coded element of each window class, and their number n.

        Returns:
            int16 (n), values in coding order.

        Raises:
            CorruptedStream: as `StreamReader.code`.
            ValueError: `rows` is shorter than `starts` says, as when it had no room for all.

        Source: kernels/cuda/mixture_rows.cu.
        """
        symbols: np.ndarray = self._reader.read_packed_rows(rows, starts)
        return symbols

    def finish(self) -> None:
        """Check the ends; see `StreamReader.finish`."""
        self._reader.finish()


def open_reader(streams: Sequence[bytes | memoryview], *, backend: Backend, threads: int = 1) -> StreamReader:
    """Open the streams of one tile.

    Args:
        streams: bytes of each, whole 32-bit words.
        backend: `native` is fast; `constriction` works without the native module and is the oracle of tests.
        threads: at most so many are used by `native`; `constriction` uses one.

    Raises:
        EngineUnavailable: `native` is asked for and was not built; the message says how to.
        DependencyMissing: `constriction` is asked for and is not installed.
        CorruptedStream: no streams, more than 64, or one that is not whole words.
        ValueError: another backend.
    """
    if backend not in ("native", "constriction"):
        raise ValueError(f"backend: {backend!r} is neither 'native' nor 'constriction'")
    if not 1 <= len(streams) <= MAX_STREAMS:
        raise CorruptedStream(f"{len(streams)} streams in a tile; 1 to {MAX_STREAMS} are possible.")
    for number, stream in enumerate(streams):
        if len(stream) % 4:
            raise CorruptedStream(f"stream {number}: {len(stream)} bytes are not whole 32-bit words.")
    if backend == "native":
        return NativeReader(streams, threads)
    from fastlic.runtime.entropy.constriction_reader import ConstrictionReader

    return ConstrictionReader(streams)
