"""Read streams with constriction and numpy: the oracle of the native reader, and the reader where that was not built.

Knows passes and streams; the arithmetic is in kernels/reference.py, the order in prepared.py, the coder
in range_coder.py.
Rule: docs/format.md, section 3.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fastlic.errors import CorruptedStream
from fastlic.runtime.entropy.passes import Pass, share
from fastlic.runtime.entropy.prepared import Prepared, prepare, runs
from fastlic.runtime.entropy.range_coder import SymbolReader
from fastlic.runtime.entropy.tables import MAX_VALUE

_FREQUENCIES = 1 << 19  # cumulative frequencies computed at once


class ConstrictionReader:
    """Reads with constriction. Every slot of every window is computed: slow, and plain.

    Args:
        streams: bytes of each, whole 32-bit words.
    """

    def __init__(self, streams: Sequence[bytes | memoryview]) -> None:
        self._streams = [SymbolReader(bytes(stream)) for stream in streams]

    def code(self, pass_: Pass) -> np.ndarray:
        """Read a pass; see `StreamReader.code`."""
        prepared = prepare(pass_)
        values = prepared.fixed
        for number, stream in enumerate(self._streams):
            mine = share(len(prepared.index), number, len(self._streams))
            try:
                values.flat[prepared.index[mine]] = _read(stream, prepared, mine)
            except CorruptedStream as error:
                raise self._located(number, error) from None
        return values

    def finish(self) -> None:
        """Check the ends; see `StreamReader.finish`."""
        for number, stream in enumerate(self._streams):
            try:
                stream.finish()
            except CorruptedStream as error:
                raise self._located(number, error) from None

    @staticmethod
    def _located(number: int, error: CorruptedStream) -> CorruptedStream:
        return CorruptedStream(f"stream {number}: {error} The file is damaged: transfer it again.")


def _read(stream: SymbolReader, prepared: Prepared, mine: slice) -> np.ndarray:
    """Values of the elements in `mine`, int64: all slots, then all excesses."""
    slots = np.empty(mine.stop - mine.start, np.int64)
    for run in runs(prepared, mine, _FREQUENCIES):
        width = int(prepared.width[run.start])
        columns = np.broadcast_to(np.arange(width + 1), (run.stop - run.start, width + 1))
        slots[run.start - mine.start : run.stop - mine.start] = stream.read(prepared.cdf(run, columns))
    values = prepared.low[mine] + slots
    below, above = slots == 0, slots == prepared.width[mine] - 1
    for at in np.flatnonzero(below | above):
        values[at] += stream.read_excess() * (-1 if below[at] else 1)
        if abs(values[at]) > MAX_VALUE:
            raise CorruptedStream(f"value {values[at]} is beyond {MAX_VALUE}.")
    return values
