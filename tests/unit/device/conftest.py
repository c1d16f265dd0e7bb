"""Decoders whose device is emulated: kernels run in the emulator, graphs on the CPU, streams when waited for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from emulation.cuda import EmulatedCuda
from emulation.engine import EmulatedEngine

from fastlic.runtime.codec import Decoder

GOLDEN = Path(__file__).parents[2] / "conformance" / "golden"
TINY = GOLDEN / "tiny.licb"


@pytest.fixture
def cuda(emulation: object) -> Iterator[EmulatedCuda]:
    """The emulated driver. Afterwards nothing is left on the device."""
    with EmulatedCuda().installed() as emulated:
        yield emulated
    assert (emulated.allocated(), emulated.graphs) == (0, {})


@pytest.fixture
def open_decoder(cuda: EmulatedCuda) -> Iterator[Callable[..., Decoder]]:
    """Makes decoders; keywords are those of `EmulatedEngine` and, beginning with the bundle, of `Decoder`."""
    with ExitStack() as stack:

        def make(bundle: Path | bytes | None = TINY, *, entropy: str = "auto", **engine: bool) -> Decoder:
            made = EmulatedEngine(cuda, **engine)
            stack.callback(lambda: _assert_unbound(made))
            return stack.enter_context(Decoder(bundle, engine=made, threads=1, entropy=entropy, ignore_pin=True))

        yield make


def _assert_unbound(engine: EmulatedEngine) -> None:
    assert engine.bindings == 0
