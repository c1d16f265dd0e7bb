"""Learned image compression for applications: the same symbols on every engine, no PyTorch at run time.

    with fastlic.Decoder() as decoder:
        picture = decoder.decode(data)  # (height, width, 3) uint8

The door only: public names resolve on first use, so that `import fastlic` costs no NumPy and no engine.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastlic import errors
    from fastlic.runtime.bitstream import probe
    from fastlic.runtime.codec import Decoder, Encoder
    from fastlic.runtime.pillow import register_opener

__version__ = "0.1.0"

__all__ = ["Decoder", "Encoder", "__version__", "errors", "probe", "register_opener"]

_HOMES = {
    "Decoder": "fastlic.runtime.codec",
    "Encoder": "fastlic.runtime.codec",
    "probe": "fastlic.runtime.bitstream",
    "register_opener": "fastlic.runtime.pillow",
}


def __getattr__(name: str) -> object:
    """Import the module behind a public name when it is first asked for (PEP 562)."""
    if name == "errors":
        return import_module("fastlic.errors")  # which also binds it here
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'fastlic' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
