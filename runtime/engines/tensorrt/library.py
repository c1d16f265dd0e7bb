"""NVIDIA's libraries as Python modules: which there are, how they are imported, and what they complain of.

Knows names and versions; knows nothing of graphs.
"""

from __future__ import annotations

import os
import re
from collections import deque
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from fastlic.errors import EngineUnavailable

# Engine -> the modules that may hold the library (the first that imports), its oldest version, how to get it.
_KNOWN: dict[str, tuple[tuple[str, ...], tuple[int, int], str]] = {
    "tensorrt": (("tensorrt",), (10, 9), "pip install 'fastlic[tensorrt]'"),
    "tensorrt-rtx": (("tensorrt_rtx", "tensorrt_rtx_bindings"), (1, 7), "pip install 'fastlic[tensorrt-rtx]'"),
}
_TITLES = {"tensorrt": "TensorRT", "tensorrt-rtx": "TensorRT for RTX"}


@dataclass(frozen=True)
class Library:
    """One of the two, imported.

    Attributes:
        name: of the engine, "tensorrt" or "tensorrt-rtx".
        title: as NVIDIA writes it.
        version: for example "11.4.0.106".
        trt: the module. All of it that is used is checked against NVIDIA's own binding by
            tests/unit/engines/test_tensorrt_binding.py.
        logger: given to whatever the library makes.
    """

    name: str
    title: str
    version: str
    trt: Any
    logger: Any

    @property
    def finishes_on_the_device(self) -> bool:
        """Whether engines are built without the GPU, and completed on the one that loads them."""
        return self.name == "tensorrt-rtx"

    def complaints(self) -> str:
        """What the library has logged as errors since the last call, shortened."""
        messages = [*self.logger.errors]
        self.logger.errors.clear()
        text = " ".join(" ".join(messages).split())
        return f"{text[:600]}..." if len(text) > 600 else text or "it says nothing of why."


@cache
def load(name: str) -> Library:
    """Import a library.

    Args:
        name: of the engine.

    Raises:
        EngineUnavailable: it is not installed, does not load, or is too old; the message says what to install.
    """
    modules, oldest, install = _KNOWN[name]
    trt = _import(_TITLES[name], modules, install)
    version = str(trt.__version__)
    if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < oldest:
        raise EngineUnavailable(
            f"{_TITLES[name]} {version} is too old; {'.'.join(map(str, oldest))} is needed. Update it: {install}."
        )
    logger = _logger_class(trt)()
    return Library(name, _TITLES[name], version, trt, logger)


PLUGIN_LIBRARY = "FASTLIC_TENSORRT_PLUGIN"
"""Environment variable that names the C++ plugin library; see `kernels/tensorrt/build.py`."""


_plugin_libraries: set[str] = set()  # that this process has loaded


def load_plugin_library(library: Library) -> None:
    """Give TensorRT our plugin in C++, once, which both building and running the form "library" need.

    Raises:
        EngineUnavailable: no library is named, or TensorRT does not take it.
    """
    path = os.environ.get(PLUGIN_LIBRARY)
    if not path:
        raise EngineUnavailable(
            f"the form library needs the plugin in C++: compile it (python -m fastlic.kernels.tensorrt.build) and name "
            f"it in {PLUGIN_LIBRARY}; or use the form plugin."
        )
    if path in _plugin_libraries:
        return
    registry = library.trt.get_plugin_registry()
    if not Path(path).exists() or registry.load_library(path) is None:
        raise EngineUnavailable(f"{PLUGIN_LIBRARY}: {library.title} does not load {path}: {library.complaints()}")
    _plugin_libraries.add(path)


def _import(title: str, modules: tuple[str, ...], install: str) -> Any:
    for module in modules:
        try:
            return import_module(module)
        except ModuleNotFoundError as error:
            if error.name != module:
                raise EngineUnavailable(f"{title} does not load: {error}. Install it again: {install}.") from None
        except (ImportError, OSError) as error:
            raise EngineUnavailable(f"{title} does not load: {error}. Install it again: {install}.") from None
    raise EngineUnavailable(f"{title} is not installed. Install it: {install}.")


def _logger_class(trt: Any) -> Any:
    class Logger(trt.ILogger):
        """Keeps errors for exceptions, and prints nothing."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: deque[str] = deque(maxlen=8)

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.errors.append(message)

    return Logger
