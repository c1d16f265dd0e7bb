"""An emulated device in place of a real one, for code and tests that are written for a GPU.

As a pytest plugin, `pytest -p emulation.installed`, it does so for all tests of a process.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest import mock

from emulation.cuda import EmulatedCuda
from emulation.engine import EmulatedEngine

from fastlic.runtime import engines

_INSTALLED = ExitStack()


@contextmanager
def emulated_device() -> Iterator[EmulatedCuda]:
    """The driver is the emulated one, and so is the engine `torch`, whatever its options."""
    create = engines.create

    def make(name: str = "auto", *given: object, **options: object) -> object:
        return EmulatedEngine(cuda) if name == "torch" else create(name, *given, **options)  # type: ignore[arg-type]

    with EmulatedCuda().installed() as cuda, mock.patch.object(engines, "create", make):
        yield cuda


def pytest_configure() -> None:
    """Begin."""
    _INSTALLED.enter_context(emulated_device())


def pytest_unconfigure() -> None:
    """End."""
    _INSTALLED.close()
