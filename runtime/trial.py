"""Try an engine on a GPU: does it compute the right numbers, keep its memory, and let itself be captured?

Knows the probes of the package (`export/forms/probes.py` draws them) and what may go wrong; knows nothing of how an
engine works. The reference is the engine `ort-cpu`.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from fastlic.errors import FastlicError
from fastlic.kernels.cuda.arrays import ArraySpec, DeviceArray
from fastlic.runtime import engines
from fastlic.runtime.conformance import Finding
from fastlic.runtime.engines.device import DeviceEngine
from fastlic.runtime.forms import Form, FormCache

PROBES = {"exact": (True, 64), "pixels": (False, 8)}
"""Name -> whether every bit must be right, and the channels of its input, int16 (channels, h, w)."""
SHAPES = ((16, 24), (24, 16))
"""Height and width: two, between which memory is watched."""
ROUNDS = 200
SETTLED = 20
"""Rounds after which an engine has everything that it needs."""
LEAK = 4 << 20
"""Bytes of device memory that may go in the remaining rounds: the driver hands out pages of 2 MiB."""


def folder() -> Path:
    """Where the package keeps its probes."""
    return Path(str(resources.files("fastlic.runtime"))) / "probes"


def probe_file(name: str, form: Form) -> str:
    """The file of a probe in a form."""
    return f"{name}-{form.name}.onnx"


def try_engine(name: str, **options: Any) -> Iterator[Finding]:
    """Try one engine; every finding is a check, with a problem when the engine must not be used.

    Args:
        name: of an engine whose graphs can stay on a device.
        options: of that engine.
    """
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # that engines are built is why we are here
        try:
            engine = engines.create(name, 1, cache=Path(scratch), **options)
        except FastlicError as error:
            yield Finding("starts", str(error))
            return
        with closing(engine):
            if not isinstance(engine, DeviceEngine):
                raise TypeError(f"{name} does not run on a device")
            _provide_forms(engine, Path(scratch))
            checks: list[tuple[str, Callable[[DeviceEngine], str | None]]] = [
                ("integers at the certified bound", lambda each: _compare(each, "exact")),
                ("pixels within a level", lambda each: _compare(each, "pixels")),
                (f"memory over {ROUNDS} changes of shape", _watch_memory),
                ("capture into a CUDA graph", _capture),
            ]
            for check, run in checks:
                try:
                    problem = run(engine)
                except (FastlicError, MemoryError) as error:
                    problem = f"{type(error).__name__}: {error}"
                yield Finding(check, problem)


def _provide_forms(engine: DeviceEngine, cache: Path) -> None:
    """Put the probes' forms where the engine looks for what `fastlic build` makes."""
    form_of = getattr(engine, "form", None)
    for name, (exact, _) in PROBES.items():
        form = form_of(exact) if form_of is not None else Form(precision="f16")
        path = folder() / probe_file(name, form)
        if path.exists():
            FormCache(cache).store(_probe(name), form, path.read_bytes())


def _probe(name: str) -> bytes:
    return (folder() / f"{name}.onnx").read_bytes()


def _inputs(name: str, shape: tuple[int, int]) -> np.ndarray:
    """Numbers for a probe; those of `exact` include what makes its sums largest."""
    exact, channels = PROBES[name]
    rng = np.random.default_rng(7)
    reach = 3000 if exact else 12
    drawn = rng.integers(-reach, reach + 1, (channels, *shape)).astype(np.int16)
    if exact:
        drawn[:, 0, :2] = (32767, -32768)
    return drawn


def _reference(name: str, inputs: np.ndarray) -> np.ndarray:
    with closing(engines.create("ort-cpu", 1)) as engine:
        return engine.load(_probe(name), name, PROBES[name][0])([inputs])[0]


def _compare(engine: DeviceEngine, name: str) -> str | None:
    exact = PROBES[name][0]
    graph = engine.load(_probe(name), name, exact)
    for shape in SHAPES:
        inputs = _inputs(name, shape)
        problem = _difference(graph([inputs])[0], _reference(name, inputs), 0 if exact else 1)
        if problem is not None:
            return problem
    return None


def _difference(got: np.ndarray, expected: np.ndarray, allowed: int) -> str | None:
    if (got.dtype, got.shape) != (expected.dtype, expected.shape):
        return f"gives {got.dtype} {got.shape} instead of {expected.dtype} {expected.shape}"
    difference = np.abs(got.astype(np.int64) - expected.astype(np.int64))
    if difference.max() <= allowed:
        return None
    share = float((difference > allowed).mean())
    return f"{share:.1%} of the numbers are wrong, by up to {difference.max()}"


def _watch_memory(engine: DeviceEngine) -> str | None:
    """Alternate two shapes. Plugins compiled ahead of time are reported to leak (NVIDIA/TensorRT, issue 4849)."""
    graph = engine.load(_probe("pixels"), "pixels", False)
    inputs = [_inputs("pixels", shape) for shape in SHAPES]
    free = 0
    for number in range(ROUNDS):
        graph([inputs[number % len(inputs)]])
        if number == SETTLED:
            free = engine.device.free_memory()
    lost = free - engine.device.free_memory()
    return f"{lost / (1 << 20):.1f} MiB of device memory were lost" if lost > LEAK else None


def _capture(engine: DeviceEngine) -> str | None:
    """Bind, run once, record, change the input, and launch what was recorded."""
    loaded, stream = engine.load_on_device(_probe("pixels"), "pixels", False), engine.open_stream()
    inputs = _inputs("pixels", SHAPES[0])
    arrays = _bound_arrays(engine, loaded.outputs([ArraySpec(inputs.dtype, inputs.shape)]), inputs)
    bound = loaded.bind(arrays[:1], arrays[1:], stream)
    try:
        if not bound.capturable:
            return None
        arrays[0].upload(np.zeros_like(inputs), stream)
        bound.enqueue()
        recorded = stream.capture(bound.enqueue)
        arrays[0].upload(inputs, stream)
        recorded.launch(stream)
        stream.synchronize()
        got = arrays[1].numpy()
        recorded.close()
        return _difference(got, _reference("pixels", inputs), 1)
    finally:
        bound.close()
        for array in arrays:
            array.close()


def _bound_arrays(engine: DeviceEngine, outputs: Sequence[ArraySpec], inputs: np.ndarray) -> list[DeviceArray]:
    specs = [ArraySpec(inputs.dtype, inputs.shape), *outputs]
    return [DeviceArray.empty(engine.device, spec) for spec in specs]
