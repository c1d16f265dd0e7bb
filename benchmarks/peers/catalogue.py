"""The peers: codecs of others that are timed beside ours, and how each is started.

Knows names and programs; environments know pip, and programs know their codec.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastlic.benchmarks.peers.environment import PeerUnavailable, Worker, compressai_python

_HERE = Path(__file__).parent
OURS_PROGRAM = _HERE / "fastlic_worker.py"


@dataclass(frozen=True)
class Peer:
    """One codec.

    Attributes:
        label: for tables.
        name: as its program knows it.
        program: of its process.
        python: finds or makes its environment, and gives the interpreter.
        real_files: whether its files come from a trained codec, so that rate and quality may be compared.
        uses_threads: whether it takes a number of threads; others choose for themselves.
    """

    label: str
    name: str
    program: Path
    python: Callable[[], Path]
    real_files: bool
    uses_threads: bool

    def open(self, pictures: Sequence[str], threads: int, psnr: float) -> tuple[Worker, dict[str, Any]]:
        """Start it and let it encode.

        Args:
            pictures: PNG files.
            threads: to decode with.
            psnr: dB; codecs with real files encode as near to it as they can.

        Returns:
            The worker, which the caller closes, and its answer: `bytes` and `version`, with real files `psnr` too.

        Raises:
            PeerUnavailable: it cannot be installed, or its program stops.
        """
        worker = Worker(self.python(), self.program)
        try:
            wanted: dict[str, Any] = {"threads": threads} if self.uses_threads else {"psnr": psnr}
            return worker, worker.ask(do="prepare", name=self.name, pictures=list(pictures), **wanted)
        except PeerUnavailable:
            worker.close()
            raise


def _compressai(label: str, name: str) -> Peer:
    return Peer(label, name, _HERE / "compressai_worker.py", compressai_python, real_files=False, uses_threads=True)


def _pillow(name: str) -> Peer:
    program = _HERE / "pillow_worker.py"
    return Peer(name, name, program, lambda: Path(sys.executable), real_files=True, uses_threads=False)


PEERS: Mapping[str, Peer] = {
    "mbt2018-mean": _compressai("mean-scale hyperprior, N = 128, M = 192", "mbt2018-mean"),
    "mbt2018-mean-192": _compressai("mean-scale hyperprior, N = 192, M = 320", "mbt2018-mean-192"),
    "cheng2020-checkerboard": _compressai("Cheng2020 checkerboard, N = 128", "cheng2020-checkerboard"),
    "cheng2020-checkerboard-192": _compressai("Cheng2020 checkerboard, N = 192", "cheng2020-checkerboard-192"),
    "elic2022": _compressai("ELIC, N = 192, M = 320", "elic2022"),
    "jpeg": _pillow("JPEG"),
    "webp": _pillow("WebP"),
    "jpeg2000": _pillow("JPEG 2000"),
    "avif": _pillow("AVIF"),
}
"""By the name of `--peer`."""

QUICK = ("mbt2018-mean", "jpeg")
"""Those of `make bench-quick`."""
