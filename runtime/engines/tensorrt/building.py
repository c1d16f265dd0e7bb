"""Build an engine: parse a form, fix its shapes, compile it.

Knows the library's parser and builder; knows nothing of caches, or of running engines.
Rules: networks are strongly typed, so precision is what the form says; TF32 is always off, because exact graphs must
give the same integers everywhere; shapes are fixed, because plugins compiled ahead of time are reported to leak when
they change (NVIDIA/TensorRT, issue 4849).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from fastlic.errors import BundleError, EngineUnavailable
from fastlic.kernels.tensorrt import plugin, ptx
from fastlic.runtime.engines.tensorrt.inspection import count_plugins
from fastlic.runtime.engines.tensorrt.library import Library
from fastlic.runtime.forms import Form

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Request:
    """What to build.

    Attributes:
        name: of the graph, for messages.
        model: its form, an ONNX model.
        form: how that is written.
        shapes: of each input, in order, as the form has them.
        capability: of the GPU that the engine is for, (major, minor).
    """

    name: str
    model: bytes
    form: Form
    shapes: tuple[Shape, ...]
    capability: tuple[int, int]


@dataclass(frozen=True)
class Built:
    """An engine, serialised, and what the library learnt about timings on the way (None: it keeps no such thing)."""

    engine: bytes
    timing_cache: bytes | None


_lock = threading.Lock()  # of the registry of plugins, which belongs to the process
_registered: dict[str, tuple[int, int]] = {}
"""Plugin -> the capability that its PTX is for, which the build under way has set."""


def build(library: Library, request: Request, timing_cache: bytes = b"") -> Built:
    """Build one engine; takes seconds to minutes, and one core or more.

    Args:
        library: which.
        request: what.
        timing_cache: of earlier builds on this GPU with this version, or nothing.

    Raises:
        BundleError: the library cannot parse or build the graph; the message holds what it says.
        EngineUnavailable: it has no plugins of our kind, or fastlic was installed without its CUDA kernels.
    """
    trt = library.trt
    with _lock:
        _offer_plugins(library, request)
        builder = trt.Builder(library.logger)
        network = builder.create_network(_network_flags(trt))
        parser = trt.OnnxParser(network, library.logger)
        if not parser.parse(request.model):
            errors = " ".join(parser.get_error(number).desc() for number in range(parser.num_errors))
            library.complaints()
            raise BundleError(
                f"graph {request.name}: {library.title} cannot parse it: {' '.join(errors.split())[:600]}"
            )
        _fix_shapes(network, request)
        _check_types(trt, network, request)
        config = builder.create_builder_config()
        _configure(library, config, request)
        timings = None
        if not library.finishes_on_the_device:
            timings = config.create_timing_cache(timing_cache)
            config.set_timing_cache(timings, False)
        engine = builder.build_serialized_network(network, config)
        if engine is None:
            raise BundleError(f"graph {request.name}: {library.title} cannot build it: {library.complaints()}")
        return Built(bytes(engine), None if timings is None else bytes(timings.serialize()))


def _network_flags(trt: Any) -> int:
    flags = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    ahead = getattr(trt.NetworkDefinitionCreationFlag, "PREFER_AOT_PYTHON_PLUGINS", None)
    return flags if ahead is None else flags | 1 << int(ahead)


def _offer_plugins(library: Library, request: Request) -> None:
    """Make the plugins known that the form needs."""
    trt = library.trt
    if request.form.deform == "grid-sample":
        return
    if library.finishes_on_the_device:
        raise EngineUnavailable(f"{library.title} has no plugins: build with --form grid-sample.")
    if request.form.deform == "standard":
        trt.init_libnvinfer_plugins(library.logger, "")
    if request.form.deform == "plugin" and count_plugins(request.model):
        if plugin.NAME not in _registered:
            plugin.register(trt, _quick_plugins(library), lambda kernel: ptx.load(kernel, _registered[plugin.NAME]))
        _registered[plugin.NAME] = request.capability


def _quick_plugins(library: Library) -> Any:
    if not hasattr(library.trt, "QuickPluginCreationRequest"):
        raise EngineUnavailable(
            f"{library.title} {library.version} has no plugins that are compiled ahead of time: update it, or build "
            "with --form standard."
        )
    return import_module("tensorrt.plugin")


def _fix_shapes(network: Any, request: Request) -> None:
    inputs = [network.get_input(number) for number in range(network.num_inputs)]
    if len(inputs) != len(request.shapes):
        raise BundleError(f"graph {request.name}: has {len(inputs)} inputs, {len(request.shapes)} are given.")
    for tensor, shape in zip(inputs, request.shapes, strict=True):
        has = tuple(tensor.shape)
        if len(has) != len(shape) or any(known not in (-1, wanted) for known, wanted in zip(has, shape, strict=True)):
            raise BundleError(f"graph {request.name}: input {tensor.name} is {has}, not {shape}.")
        tensor.shape = shape


def _check_types(trt: Any, network: Any, request: Request) -> None:
    """Refuse a network that does not compute in the precision that the form is for."""
    kinds = {kind for layer in _layers(network) for kind in _output_types(layer)}
    half = trt.DataType.HALF in kinds
    if half != (request.form.precision == "f16"):
        raise BundleError(
            f"graph {request.name}: its form is {request.form.precision}, and {'some' if half else 'no'} layers of it "
            "compute in half precision. Remove the cache and build again."
        )


def _layers(network: Any) -> Iterator[Any]:
    return (network.get_layer(number) for number in range(network.num_layers))


def _output_types(layer: Any) -> Sequence[Any]:
    return [layer.get_output(number).dtype for number in range(layer.num_outputs)]


def _configure(library: Library, config: Any, request: Request) -> None:
    trt = library.trt
    config.clear_flag(trt.BuilderFlag.TF32)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # for the inspection
    if library.finishes_on_the_device:
        config.num_compute_capabilities = 1
        config.set_compute_capability(_compute_capability(library, request.capability), 0)


def _compute_capability(library: Library, capability: tuple[int, int]) -> Any:
    """The library's name for a kind of GPU.

    Raises:
        EngineUnavailable: it does not know it.
    """
    known = library.trt.ComputeCapability.__members__
    name = f"SM{capability[0]}{capability[1]}"
    if name not in known:
        raise EngineUnavailable(
            f"{library.title} {library.version} does not know compute capability {capability[0]}.{capability[1]}, only "
            f"{', '.join(kind for kind in known if kind.startswith('SM'))}: use the engine tensorrt or ort-cuda."
        )
    return known[name]
