"""Engines run the graphs of a bundle. One engine per module, each able to say why it cannot run.

Knows their names and what the runtime may ask of them; knows nothing of schedules or students. Nothing falls back
silently: an engine asked for by name either runs or raises.
Rule: a graph that is `exact` in the manifest must give equal bits on every engine (docs/exactness.md).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from inspect import signature
from typing import Any, Protocol

import numpy as np

from fastlic.errors import EngineUnavailable


class Graph(Protocol):
    """A loaded graph. May be called by several threads at once."""

    def __call__(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Evaluate the graph.

        Args:
            inputs: one array per input port, of the port's dtype and rank; C-contiguous ones are not copied.

        Returns:
            One C-contiguous array per output port. It is the caller's: no later call writes to it.

        Raises:
            BundleError: the graph does not accept these inputs, or fails on them.
            MemoryError: there is not enough memory for these shapes.
        """


@dataclass(frozen=True)
class EngineInfo:
    """What runs the graphs.

    Attributes:
        name: as given to `create`, never "auto".
        version: of the library behind the engine.
        device: "cpu" or the name of the GPU.
        threads: that one graph may use.
        detail: engine options that differ from run to run, for reports.
    """

    name: str
    version: str
    device: str
    threads: int
    detail: Mapping[str, str] = field(default_factory=dict)


class Engine(Protocol):
    """A way to run graphs, with its options settled."""

    name: str

    def load(self, model: bytes, name: str, exact: bool) -> Graph:
        """Prepare one ONNX graph.

        Args:
            model: a serialized ONNX model with its weights inside.
            name: of the graph, for messages.
            exact: the graph is certified to compute the same integers everywhere: nothing may be traded for speed.

        Raises:
            BundleError: this engine cannot read or run the model.
        """

    def info(self) -> EngineInfo:
        """What this engine is, for `Decoder.engine_info` and reports."""

    def close(self) -> None:
        """Release all graphs and their memory; they cannot be called afterwards."""


# Engine -> its class, or what makes one. Modules are imported when an engine is asked for: absence is no error before.
_CLASSES = {
    "ort-cpu": "fastlic.runtime.engines.ort:OrtCpuEngine",
    "ort-cuda": "fastlic.runtime.engines.ort_cuda:OrtCudaEngine",
    "tensorrt": "fastlic.runtime.engines.tensorrt.engine:TensorRTEngine",
    "tensorrt-rtx": "fastlic.runtime.engines.tensorrt.engine:TensorRTRTXEngine",
    "torch": "fastlic.runtime.engines.torch:create",
}
# What "auto" tries, fastest first. `torch` is an oracle for development and is only ever used by name; so are, for now,
# the engines of GPUs: no measurement says yet that they work (docs/kernels.md).
_AUTO = ("ort-cpu",)


def names() -> tuple[str, ...]:
    """Every engine that `create` knows, "auto" aside."""
    return tuple(_CLASSES)


def create(name: str = "auto", threads: int | None = None, device: int | str | None = None, **options: Any) -> Engine:
    """Make an engine.

    Args:
        name: "auto" or one of `names()`, which options in words may follow: "tensorrt:form=standard,precision=f32".
        threads: that one graph may use, at least 1; None: one per usable core.
        device: number of the GPU, or "cuda", "cuda:1", for an engine that can use one; None: the engine's own choice.
        options: of that engine's class; none with "auto".

    Raises:
        EngineUnavailable: there is no such engine, or it cannot run here; or it has no such option among those in
            words, or no such value of it. The message says why.
        ValueError: `threads`, `device` or an option is out of range, or the engine does not use a GPU.
        TypeError: the engine has no such option.
    """
    if threads is not None and threads < 1:
        raise ValueError(f"threads must be at least 1, not {threads}")
    name, colon, words = name.partition(":")
    if colon:
        return _create_with_words(name, words, threads, device, options)
    if device is not None:
        options["device"] = _gpu_number(device)
    if name == "auto":
        if options:
            raise TypeError(f"options {sorted(options)} belong to one engine: name it instead of auto")
        return _first_usable(threads)
    if name not in _CLASSES:
        raise EngineUnavailable(f"there is no engine {name!r}. Known: auto, {', '.join(_CLASSES)}.")
    module, _, class_name = _CLASSES[name].partition(":")
    make: Callable[..., Engine] = getattr(import_module(module), class_name)
    if "device" in options and "device" not in signature(make).parameters:
        raise ValueError(f"the engine {name} runs on the CPU and has no device {device!r}")
    return make(threads or usable_cores(), **options)


def _create_with_words(
    name: str, words: str, threads: int | None, device: int | str | None, options: dict[str, Any]
) -> Engine:
    """`create`, with options as `key=value,key=value`."""
    worded: dict[str, Any] = {key: value for key, _, value in (word.partition("=") for word in words.split(","))}
    try:
        return create(name, threads, worded.pop("device", device), **worded, **options)
    except (TypeError, ValueError) as error:
        raise EngineUnavailable(f"engine {name}:{words}: {error}.") from None


def report() -> list[tuple[str, str | None]]:
    """Try to make every engine.

    Returns:
        (name, None) for an engine that can run here, (name, the reason) for one that cannot.
    """
    found: list[tuple[str, str | None]] = []
    for name in _CLASSES:
        try:
            create(name, threads=1).close()
        except EngineUnavailable as reason:
            found.append((name, str(reason)))
        else:
            found.append((name, None))
    return found


def usable_cores() -> int:
    """Cores that this process may run on, which in a container can be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _gpu_number(device: int | str) -> int:
    """`1` of 1 and of "cuda:1"; `0` of "cuda"."""
    kind, _, number = str(device).partition(":")
    if kind == "cuda" and (number or str(device) == "cuda"):
        kind = number or "0"
    if not kind.isdecimal():
        raise ValueError(f"device must be the number of a GPU or such as 'cuda:1', not {device!r}")
    return int(kind)


def _first_usable(threads: int | None) -> Engine:
    reasons = []
    for name in _AUTO:
        try:
            return create(name, threads)
        except EngineUnavailable as reason:
            reasons.append(f"{name}: {reason}")
    raise EngineUnavailable("no engine can run here. " + " ".join(reasons))
