"""Decode many files from asyncio: so many at once, each with a time-out, and what fails does not stop the others.

    python asyncio_decode.py FILE.lic ...

A decode releases the interpreter's lock, so a thread for each keeps the event loop free. A coroutine that is cancelled
does not stop its thread; the event that it hands over does, at the next step of the decode.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np

import fastlic


class Pictures:
    """One decoder for a whole application.

    Args:
        decoder: shared by all calls; `threads=1` and several at once is fastest for many small pictures.
        at_once: bounds the memory: decodes beyond it wait their turn, and hold no thread while they do.
        timeout: seconds of one decode.
    """

    def __init__(self, decoder: fastlic.Decoder, *, at_once: int = 4, timeout: float = 10.0) -> None:
        self._decoder, self._timeout = decoder, timeout
        self._turns = asyncio.Semaphore(at_once)

    async def decode(self, data: bytes) -> np.ndarray:
        """One picture, (height, width, 3) uint8.

        Raises:
            FastlicError: as `Decoder.decode`; `TimedOut` is one of them.
        """
        async with self._turns, _cancelled_with_us() as cancel:
            return await asyncio.to_thread(self._decoder.decode, data, timeout=self._timeout, cancel=cancel)


@asynccontextmanager
async def _cancelled_with_us() -> AsyncIterator[threading.Event]:
    """An event that is set when the block is left, by cancellation or otherwise."""
    event = threading.Event()
    try:
        yield event
    finally:
        event.set()


async def main(paths: Sequence[str]) -> int:
    """Print one line per file, in the order given; returns how many failed."""
    with fastlic.Decoder(threads=1) as decoder:
        pictures = Pictures(decoder)
        results = await asyncio.gather(
            *(pictures.decode(Path(path).read_bytes()) for path in paths), return_exceptions=True
        )
    failed = 0
    for path, result in zip(paths, results, strict=True):
        if isinstance(result, np.ndarray):
            print(f"{path}: {result.shape[1]}x{result.shape[0]}")
        elif isinstance(result, fastlic.errors.FastlicError):
            failed += 1
            print(f"{path}: {result}")
        else:
            raise result
    return failed


if __name__ == "__main__":
    sys.exit(1 if asyncio.run(main(sys.argv[1:])) else 0)
