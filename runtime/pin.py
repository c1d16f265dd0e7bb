"""What pins a graph to one engine: the engine's name and version, and the class of machine that it runs on.

Knows how floating point differs between machines; knows nothing of bundles' contents. Graphs that cannot be integers
(attention, layer norm) give equal bits only where the same kernels run: the same library on processors for which it
chooses the same code. Threads and the level of optimisation are settled by the exporter's check that they change
nothing (docs/exactness.md, "Pinned graphs"); the symbol checksum stands behind all of it.
"""

from __future__ import annotations

import platform
from functools import cache
from importlib import import_module

from fastlic.errors import PinMismatch
from fastlic.runtime.engines import Engine
from fastlic.runtime.manifest import Manifest, Pin

_WIDEST_FIRST = ("AVX512F", "FMA3", "AVX", "ASIMD", "VSX", "NEON", "SSE2")
"""Sets of instructions by which libraries choose their float32 kernels."""


def pin_of(engine: Engine) -> Pin:
    """What graphs that run on this engine, here, would be pinned to."""
    info = engine.info()
    machine = machine_class() if info.device == "cpu" else info.device
    return Pin(engine=info.name, version=info.version, machine=machine)


@cache
def machine_class() -> str:
    """The processor's architecture and the widest vector instructions it has, such as "x86_64 avx512f"."""
    features = _features()
    widest = next((name.lower() for name in _WIDEST_FIRST if features.get(name)), "scalar")
    return f"{platform.machine().lower()} {widest}"


def check_pin(manifest: Manifest, engine: Engine) -> None:
    """Refuse an engine that a bundle's pinned graphs were not made for.

    Raises:
        PinMismatch: the bundle is pinned to another engine, version or class of machine.
    """
    wanted = manifest.pin
    if wanted is None:
        return
    here = pin_of(engine)
    if here != wanted:
        raise PinMismatch(
            f"{manifest.name}: its symbols come from floating-point networks, equal only on {_said(wanted)}; this is "
            f"{_said(here)}. Decode where the file was made or ask for that engine by name; a student with exact "
            "networks decodes anywhere."
        )


def _said(pin: Pin) -> str:
    return f"{pin.engine} {pin.version} ({pin.machine})"


def _features() -> dict[str, bool]:
    """Instruction sets of this processor by NumPy's names for them; it detects them on every platform."""
    try:
        return dict(import_module("numpy._core._multiarray_umath").__cpu_features__)
    except (ImportError, AttributeError):  # a NumPy without them: every processor is one class, the checksum decides
        return {}
