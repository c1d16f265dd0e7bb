"""The engines `tensorrt` and `tensorrt-rtx`: forms and engines from the user's cache, built where they are missing.

Knows which form each library gets and the order of work; the modules beside this know how.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Sequence
from pathlib import Path

from fastlic.errors import EngineNotPrepared
from fastlic.kernels.cuda.arrays import ArraySpec, DeviceArray
from fastlic.kernels.cuda.driver import Device, Stream, open_device
from fastlic.runtime.engines import EngineInfo, Graph
from fastlic.runtime.engines.device import BoundGraph, HostGraph
from fastlic.runtime.engines.tensorrt import building, inspection, library
from fastlic.runtime.engines.tensorrt.execution import LoadedEngine, form_shape
from fastlic.runtime.engines.tensorrt.store import EngineStore, Key
from fastlic.runtime.forms import Deform, Form, FormCache, Precision, graph_hash

_KEPT = 8
"""Shapes of a graph whose engines stay loaded."""


class TensorRTEngine:
    """TensorRT on one GPU. Engines are built for fixed shapes, once, and kept in the user's cache.

    Args:
        threads: not used; the CPU only enqueues.
        device: number of the GPU.
        precision: of graphs that are not exact; exact ones are always float32 with TF32 off.
        form: "plugin" (our deformable convolution, in the engine), "library" (the same from the C++ library
            that FASTLIC_TENSORRT_PLUGIN names) or "standard" (TensorRT's own).
        build: whether an engine that is missing for a shape is built when a picture needs it, with a warning, because
            that takes minutes; otherwise it is an error.
        cache: folder of forms and engines; None: the user's.

    Raises:
        EngineUnavailable: the library is missing or too old, or there is no GPU for it.
        ValueError: an option is out of range.
    """

    name: str = "tensorrt"
    forms: tuple[Deform, ...] = ("plugin", "library", "standard")

    def __init__(
        self,
        threads: int,
        *,
        device: int = 0,
        precision: Precision = "f16",
        form: Deform | None = None,
        build: bool = True,
        cache: Path | None = None,
    ) -> None:
        if form is not None and form not in self.forms:
            raise ValueError(f"form must be one of {', '.join(self.forms)}, not {form!r}")
        if precision not in ("f16", "f32"):
            raise ValueError(f"precision must be f16 or f32, not {precision!r}")
        self.library = library.load(self.name)
        if form == "library":
            library.load_plugin_library(self.library)
        self.device: Device = open_device(device)
        self.store = EngineStore(cache)
        self.form_cache = FormCache(cache)
        self.build = build
        self._threads, self._precision, self._deform = threads, precision, form or self.forms[0]
        self._graphs: list[HostGraph | TensorRTGraph] = []

    def form(self, exact: bool) -> Form:
        """How graphs are written for this engine and its GPU."""
        return form_for(self.name, self._deform, "f32" if exact else self._precision, self.device.capability)

    def load(self, model: bytes, name: str, exact: bool) -> Graph:
        """See `Engine.load`."""
        graph = HostGraph(self, self.load_on_device(model, name, exact))
        self._graphs.insert(0, graph)  # it is closed before what it is bound to
        return graph

    def load_on_device(self, model: bytes, name: str, exact: bool) -> TensorRTGraph:
        """See `DeviceEngine.load_on_device`.

        Raises:
            EngineNotPrepared: `fastlic build` has not prepared this student for this engine.
        """
        form = self.form(exact)
        written = self.form_cache.find(model, form)
        if written is None:
            raise EngineNotPrepared(
                f"graph {name} was not prepared for {self.library.title} ({form.name}). Run `fastlic build "
                f"STUDENT.licb --engine {self.name}` once."
            )
        graph = TensorRTGraph(self, written, name, form)
        self._graphs.append(graph)
        return graph

    def open_stream(self) -> Stream:
        """See `DeviceEngine`."""
        return self.device.stream()

    def info(self) -> EngineInfo:
        """Name, the library's version, the GPU, and the form of graphs."""
        return EngineInfo(
            name=self.name,
            version=self.library.version,
            device=self.device.name,
            threads=self._threads,
            detail={"form": self._deform, "precision": self._precision},
        )

    def close(self) -> None:
        """Release what graphs hold on the device."""
        for graph in self._graphs:
            graph.close()
        self._graphs.clear()


def form_for(engine: str, deform: Deform, precision: Precision, capability: tuple[int, int]) -> Form:
    """How graphs are written for one of the two libraries and a kind of GPU.

    TensorRT for RTX has no float32 matrix product before compute capability 8.0.
    """
    old = engine == TensorRTRTXEngine.name and capability < (8, 0)
    return Form(deform, precision, "tensorrt", "convolution" if old else "matrix")


class TensorRTRTXEngine(TensorRTEngine):
    """TensorRT for RTX on one GPU; see `TensorRTEngine`. It has no plugins, so the form is always "grid-sample"."""

    name: str = "tensorrt-rtx"
    forms: tuple[Deform, ...] = ("grid-sample",)


class TensorRTGraph:
    """One graph of a bundle, with an engine per shape; see `DeviceGraph`."""

    def __init__(self, engine: TensorRTEngine, written: bytes, name: str, form: Form) -> None:
        self._owner, self._written, self._name, self._form = engine, written, name, form
        self._plugins = inspection.count_plugins(written)
        self._hash = graph_hash(written)
        self._loaded: dict[Key, LoadedEngine] = {}
        self._lock = threading.Lock()

    def key(self, inputs: Sequence[ArraySpec]) -> Key:
        """All that the engine for these inputs depends on."""
        owner = self._owner
        return Key(
            graph=self._hash,
            name=self._name,
            form=self._form.name,
            engine=owner.name,
            version=owner.library.version,
            capability=".".join(map(str, owner.device.capability)),
            gpu=owner.device.name,
            shapes=tuple(form_shape(spec) for spec in inputs),
        )

    def outputs(self, inputs: Sequence[ArraySpec]) -> list[ArraySpec]:
        """See `DeviceGraph.outputs`."""
        return self.prepare(inputs).output_specs()

    def bind(self, inputs: Sequence[DeviceArray], outputs: Sequence[DeviceArray], stream: Stream) -> BoundGraph:
        """See `DeviceGraph.bind`."""
        return self.prepare([array.spec for array in inputs]).bind(inputs, outputs, stream)

    def prepare(self, inputs: Sequence[ArraySpec], *, on_purpose: bool = False) -> LoadedEngine:
        """The engine for these inputs: loaded already, from the cache, or built.

        Args:
            inputs: one per input port.
            on_purpose: somebody asked for it to be built; otherwise a warning says that it is, where that is allowed.

        Raises:
            EngineNotPrepared: it is missing and is not to be built now.
            BundleError: it cannot be built, or does something else than was asked for.
        """
        key = self.key(inputs)
        with self._lock:
            found = self._loaded.pop(key, None) or self._open(key, on_purpose)
            self._loaded[key] = found  # the last is the one used last
            while len(self._loaded) > _KEPT:
                del self._loaded[next(iter(self._loaded))]
            return found

    def close(self) -> None:
        """Release the engines and their memory."""
        with self._lock:
            for loaded in self._loaded.values():
                loaded.close()
            self._loaded.clear()

    def _open(self, key: Key, on_purpose: bool) -> LoadedEngine:
        owner, store = self._owner, self._owner.store
        if not on_purpose and store.find(key) is None:
            self._announce(key)
        content = store.obtain(key, lambda: self._build(key))
        return LoadedEngine(
            owner.library,
            owner.device,
            self._name,
            content,
            store.finished(key) if owner.library.finishes_on_the_device else b"",
            lambda compiled: store.keep_finished(key, compiled),
        )

    def _announce(self, key: Key) -> None:
        owner = self._owner
        shapes = ", ".join("x".join(map(str, shape)) for shape in key.shapes)
        why = "is damaged" if owner.store.damaged(key) else "is missing"
        if not owner.build:
            raise EngineNotPrepared(
                f"the engine of {self._name} for {shapes} on {key.gpu} {why}, and building is off. Run `fastlic build "
                f"STUDENT.licb --engine {owner.name} --size WIDTHxHEIGHT` for the pictures' size."
            )
        warnings.warn(
            f"{owner.library.title}: the engine of {self._name} for {shapes} on {key.gpu} {why}; it is built now, "
            "which can take minutes and happens once. `fastlic build --size` does it beforehand.",
            RuntimeWarning,
            stacklevel=6,
        )

    def _build(self, key: Key) -> bytes:
        """Build, look into the result, and refuse what is not as asked for."""
        owner = self._owner
        capability = owner.device.capability
        request = building.Request(self._name, self._written, self._form, key.shapes, capability)
        with owner.device.current():
            built = building.build(owner.library, request, owner.store.timings(key))
        if not owner.library.finishes_on_the_device:  # that one's layers do not exist before the device has made them
            trial = LoadedEngine(owner.library, owner.device, self._name, built.engine)
            inspection.check(owner.library, trial.engine, self._name, self._form, self._plugins)
        owner.store.keep_timings(key, built.timing_cache)
        return built.engine
