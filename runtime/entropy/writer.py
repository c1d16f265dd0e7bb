"""Write the streams of one tile.

Knows how the coded elements of all passes are shared out to streams; knows nothing of the schedule that makes the
passes.
Rule: docs/format.md, section 3. The bytes are constriction's.
"""

from __future__ import annotations

import numpy as np

from fastlic.kernels import native
from fastlic.runtime.entropy.intervals import Intervals, intervals_of
from fastlic.runtime.entropy.passes import MAX_STREAMS, Pass, share
from fastlic.runtime.entropy.range_coder import SymbolWriter, library
from fastlic.runtime.entropy.tables import MAX_VALUE

STREAM_BITS = 8 * 10_240  # aim of one stream: a stream costs about 10 bytes, 0.1 % of this


class StreamWriter:
    """Collects the passes of one tile and writes them as streams at the end.

    Args:
        use_native: find intervals with the native module or with numpy, which give the same; None: the native one
            where it was built.

    Raises:
        DependencyMissing: constriction is not installed.
        EngineUnavailable: in `code`, when the native module is asked for and was not built.
    """

    def __init__(self, *, use_native: bool | None = None) -> None:
        library()  # refuse before the work, not when the streams are written
        self._use_native = native.available() if use_native is None else use_native
        self._passes: list[Intervals] = []

    def code(self, pass_: Pass, values: np.ndarray) -> np.ndarray:
        """Add a pass.

        Args:
            pass_: what is coded and how.
            values: int16 (C', h, w'), clamped here to +-16383.

        Returns:
            int16 (C', h, w'), what a reader will see: skipped elements substituted, inactive ones 0.

        Raises:
            ValueError: values of another type or shape than the pass.
            BundleError: the pass does not fit its tables.
        """
        if values.dtype != np.int16 or values.shape != tuple(pass_.shape):
            raise ValueError(f"values: {values.dtype} {values.shape}, not int16 {tuple(pass_.shape)}")
        clamped = np.ascontiguousarray(np.clip(values, -MAX_VALUE, MAX_VALUE))
        seen, intervals = intervals_of(pass_, clamped, self._use_native)
        self._passes.append(intervals)
        return seen

    def pass_bits(self) -> list[float]:
        """Information content of each pass so far."""
        return [intervals.bits() for intervals in self._passes]

    def bits(self) -> float:
        """Information content so far; streams are longer by their ends only."""
        return sum(self.pass_bits())

    def finish(self, stream_count: int | None = None) -> list[bytes]:
        """Write the streams.

        Args:
            stream_count: 1 to 64; None: about one per 10 KB.

        Returns:
            The bytes of each stream, whole 32-bit words.

        Raises:
            ValueError: a stream count out of range.
        """
        if stream_count is None:
            stream_count = min(max(1, round(self.bits() / STREAM_BITS)), MAX_STREAMS)
        if not 1 <= stream_count <= MAX_STREAMS:
            raise ValueError(f"stream_count: {stream_count} is not in [1, {MAX_STREAMS}]")
        return [self._stream(s, stream_count) for s in range(stream_count)]

    def _stream(self, stream: int, streams: int) -> bytes:
        writer = SymbolWriter()
        for intervals in self._passes:
            mine = share(len(intervals.left), stream, streams)
            writer.write(intervals.left[mine], intervals.frequency[mine])
            excess = intervals.excess[mine]
            for e in excess[excess >= 0].tolist():
                writer.write_excess(e)
        return writer.finish()
