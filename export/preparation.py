"""Prepare a student for an engine: forms made and checked, engines built for the sizes that will be decoded.

Knows which graphs a decode runs and in which order to work; forms and engines are made by others.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fastlic.errors import EngineUnavailable, PinMismatch
from fastlic.export.forms import checking
from fastlic.export.forms.making import make
from fastlic.kernels.cuda.arrays import ArraySpec
from fastlic.runtime import engines
from fastlic.runtime.bundle import Bundle
from fastlic.runtime.engines.tensorrt import building, library
from fastlic.runtime.engines.tensorrt.engine import TensorRTEngine, form_for
from fastlic.runtime.engines.tensorrt.execution import form_shape
from fastlic.runtime.files import write_atomically
from fastlic.runtime.forms import Deform, Form, FormCache, Precision
from fastlic.runtime.shapes import Given, inputs_of_a_decode
from fastlic.runtime.student import Student

Size = tuple[int, int]
"""Width and height of a picture, in pixels."""


@dataclass(frozen=True)
class Report:
    """What was done for one graph.

    Attributes:
        graph: its name.
        form: `Form.name`.
        shapes: of its inputs, for an engine; none for a form.
        done: "form", "built", "cached" or "written".
        seconds: that it took.
        file: where the engine was written to, if anywhere.
    """

    graph: str
    form: str
    shapes: str
    done: str
    seconds: float
    file: str | None = None


def refuse_pinned(bundle: Bundle, engine: str) -> None:
    """Refuse a student whose symbols come from floating-point networks of another engine.

    Raises:
        PinMismatch: it is pinned, and not to this engine.
    """
    pin = bundle.manifest.pin
    if pin is not None and pin.engine != engine:
        raise PinMismatch(
            f"{bundle.manifest.name}: its symbols are equal only on {pin.engine} {pin.version} ({pin.machine}), so it "
            f"cannot be decoded with {engine}: there is nothing to build."
        )


def prepare_forms(
    bundle: Bundle, form_of: Callable[[bool], Form | None], cache: FormCache, *, threads: int
) -> Iterator[Report]:
    """Make the forms that are not there yet, check each against its graph, and keep it.

    Args:
        bundle: the student, from a file.
        form_of: whether a graph is exact -> its form; None: it needs none.
        cache: where forms are kept.
        threads: of the checks.

    Raises:
        VerificationFailed: a form computes something else than its graph.
        EngineUnavailable: a graph has no such form.
    """
    samples = None
    for name in _decoded(bundle):
        spec = bundle.manifest.graphs[name]
        form = form_of(spec.exact)
        if form is None:
            continue
        model, start = bundle.graph(name), time.perf_counter()
        if cache.find(model, form) is None:
            samples = samples or checking.samples(bundle, threads)
            checking.check(name, make(model, _checkable(form)), form, spec.exact, samples.get(name, []))
            cache.store(model, form, make(model, form))
            yield Report(name, form.name, "", "form", time.perf_counter() - start)


def build_engines(bundle: Bundle, engine: TensorRTEngine, sizes: Sequence[Size]) -> Iterator[Report]:
    """Build what pictures of some sizes need and is not in the cache yet.

    Args:
        bundle: a student whose forms are prepared.
        engine: that will decode.
        sizes: of the pictures.

    Raises:
        BundleError: an engine cannot be built, or does something else than was asked for.
    """
    for name, given in _inputs(bundle, sizes):
        spec = bundle.manifest.graphs[name]
        graph = engine.load_on_device(bundle.graph(name), name, spec.exact)
        specs, start = [ArraySpec(*port) for port in given], time.perf_counter()
        key = graph.key(specs)
        done = "cached" if engine.store.find(key) is not None else "built"
        graph.prepare(specs, on_purpose=True)
        yield Report(name, key.form, _text(key.shapes), done, time.perf_counter() - start)


def write_engines(
    bundle: Bundle,
    name: str,
    form_of: Callable[[bool], Form | None],
    cache: FormCache,
    sizes: Sequence[Size],
    capability: tuple[int, int],
    folder: Path,
) -> Iterator[Report]:
    """Build engines and forms as files, for applications that load them without fastlic.

    Args:
        bundle: a student whose forms are prepared.
        name: of the library.
        form_of: as for `prepare_forms`.
        cache: where forms are kept.
        sizes: of the pictures.
        capability: of the GPU that they are for; any for TensorRT for RTX, the own one's for TensorRT.
        folder: exists; gets GRAPH-SHAPES.engine and GRAPH.onnx.
    """
    loaded = library.load(name)
    for graph, given in _inputs(bundle, sizes):
        spec, start = bundle.manifest.graphs[graph], time.perf_counter()
        form = form_of(spec.exact)
        made = None if form is None else cache.find(bundle.graph(graph), form)
        if form is None or made is None:
            raise EngineUnavailable(f"graph {graph} has no form for {loaded.title}: prepare its forms first.")
        shapes = tuple(form_shape(ArraySpec(*port)) for port in given)
        built = building.build(loaded, building.Request(graph, made, form, shapes, capability))
        target = folder / f"{graph}-{_text(shapes)}-sm_{capability[0]}{capability[1]}.engine"
        write_atomically(folder / f"{graph}.onnx", made)
        write_atomically(target, built.engine)
        yield Report(graph, form.name, _text(shapes), "written", time.perf_counter() - start, str(target))


def form_chooser(
    engine: str, deform: Deform | None, precision: Precision, capability: tuple[int, int]
) -> Callable[[bool], Form | None]:
    """Which form an engine takes of exact graphs and of others, without the engine itself.

    Args:
        engine: its name.
        deform: None takes what the engine takes.
        precision: of graphs that are not exact.
        capability: of the GPU.

    Raises:
        EngineUnavailable: an engine that takes graphs as they are.
    """
    if engine == "ort-cuda":
        return lambda exact: None if exact or precision == "f32" else Form(precision="f16")
    defaults: dict[str, Deform] = {"tensorrt": "plugin", "tensorrt-rtx": "grid-sample"}
    if engine not in defaults:
        raise EngineUnavailable(f"{engine} takes bundles as they are: there is nothing to build.")
    chosen = deform or defaults[engine]
    return lambda exact: form_for(engine, chosen, "f32" if exact else precision, capability)


def _decoded(bundle: Bundle) -> list[str]:
    """The graphs that a decode runs, in its order."""
    return list(dict.fromkeys(step.graph for step in bundle.manifest.schedule if hasattr(step, "graph")))


def _inputs(bundle: Bundle, sizes: Sequence[Size]) -> Iterator[tuple[str, Given]]:
    """Graph and inputs, each once."""
    student = Student(bundle, engines.create("ort-cpu"))
    seen: dict[tuple[str, Given], None] = {}
    for width, height in sizes:
        for name, kinds in inputs_of_a_decode(student, width, height).items():
            seen |= dict.fromkeys((name, given) for given in kinds)
    yield from seen


def _checkable(form: Form) -> Form:
    """The same with ONNX's own operators; the plugin's node alone cannot be evaluated on the CPU."""
    return replace(form, deform="standard") if form.deform in ("plugin", "library") else form


def _text(shapes: Sequence[Sequence[int]]) -> str:
    return "_".join("x".join(map(str, shape)) for shape in shapes)
