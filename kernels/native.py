"""Find the native module, or say how to get it.

Knows whether it was built; knows nothing of what is in it. It is imported when it is first asked for, so that fastlic
installs, imports and decodes (slower, through constriction) where there was no compiler.
"""

from __future__ import annotations

import importlib
from functools import cache
from types import ModuleType

from fastlic.errors import EngineUnavailable


@cache
def _load() -> tuple[ModuleType | None, str]:
    """The module, or None and why it could not be imported."""
    try:
        return importlib.import_module("fastlic.kernels._native"), ""
    except ImportError as cause:
        return None, str(cause)


def available() -> bool:
    """Whether the native module was built and loads here."""
    return _load()[0] is not None


def module() -> ModuleType:
    """The native module `fastlic.kernels._native`.

    Raises:
        EngineUnavailable: it was not built or does not load; the message says why and how to build it.
    """
    found, why = _load()
    if found is None:
        raise EngineUnavailable(
            f"the native module fastlic.kernels._native cannot be loaded: {why}. Install a C++17 compiler, then "
            "`FASTLIC_REQUIRE_NATIVE=1 pip install .` in fastlic's sources; or read with backend='constriction'."
        )
    return found
