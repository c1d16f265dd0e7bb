"""`fastlic doctor`: what is installed here, what works, and what to do about what does not."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from importlib import metadata
from typing import NamedTuple

import typer

import fastlic
from fastlic.runtime.cli import options
from fastlic.runtime.cli.console import note, print_json

_LIBRARIES = ("numpy", "onnxruntime", "onnxruntime-gpu", "constriction", "Pillow")
_ONE_OF = {"onnxruntime", "onnxruntime-gpu"}
"""Two distributions of one module: either does, and both together overwrite each other's files."""
_ENCODER = "constriction"
"""The one that decoding does without, if there is a native module."""
_TRIED: dict[str, list[dict[str, str]]] = {
    "ort-cuda": [{}],
    "tensorrt": [{"form": "plugin"}, {"form": "standard"}],
    "tensorrt-rtx": [{}],
}
"""Engines on a GPU, and the options to try them with."""

_NO_NATIVE = "not built: constriction decodes, several times slower; reinstall with a C++17 compiler"


class _Row(NamedTuple):
    """One line of the report; `healthy` is None for plain facts. `engine` is the one that a failure rules out."""

    item: str
    value: str
    healthy: bool | None = None
    engine: str | None = None


def command(threads: options.Threads = None, as_json: options.Json = False) -> None:
    """Report the environment, and try every engine that can run here: numbers, memory, capture, conformance vectors."""
    broken = False
    unusable: dict[str, str] = {}
    for row in _rows(threads):
        broken |= row.healthy is False
        if row.healthy is False and row.engine is not None:
            unusable.setdefault(row.engine, row.item)
        if as_json:
            print_json(row._asdict())
        else:
            mark = {None: " ", True: "ok", False: "!!"}[row.healthy]
            print(f"{mark:2}  {row.item:52}  {row.value}")
    for engine, item in unusable.items():
        note(f"do not use the engine {engine} on this machine: {item} does not hold.")
    if broken:
        raise typer.Exit(1)


def _rows(threads: int | None) -> Iterator[_Row]:
    from fastlic.kernels import native
    from fastlic.runtime import bundle, conformance, engines

    yield _Row("fastlic", fastlic.__version__)
    yield _Row("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    yield _Row("cores", f"{engines.usable_cores()} usable of {os.cpu_count()}")
    yield from _libraries()
    built = native.available()
    yield _Row("native entropy decoder", "built" if built else _NO_NATIVE, built or None)
    for name, reason in engines.report():
        yield _Row(f"engine {name}", reason or "can run", True if reason is None else None)
        if reason is None:
            yield from _trials(name)
    students = bundle.shipped()
    if not students:
        yield _Row("students", "none shipped: name a bundle with -m", False)
    for path in students:
        for finding in conformance.check_bundle(str(path), None, threads=threads):
            yield _Row(f"{path.stem}: {finding.check}", finding.problem or "holds", finding.problem is None)


def _libraries() -> Iterator[_Row]:
    from fastlic.kernels import native

    found = {}
    for library in _LIBRARIES:
        try:
            found[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            if library == _ENCODER and native.available():
                yield _Row(library, "not installed: files are read here, not written")
            elif library not in _ONE_OF:
                yield _Row(library, "not installed: install fastlic again", False)
    yield from (_Row(library, version) for library, version in found.items())
    if found.keys() >= _ONE_OF:
        yield _Row(
            "onnxruntime and onnxruntime-gpu",
            "both are installed, which breaks both: pip uninstall both, then install one",
            False,
        )
    elif not found.keys() & _ONE_OF:
        yield _Row("onnxruntime", "not installed: pip install onnxruntime", False)


def _trials(name: str) -> Iterator[_Row]:
    """What becomes of the probes on an engine that runs on a GPU."""
    from fastlic.runtime import trial

    for chosen in _TRIED.get(name, []):
        what = " ".join((name, *chosen.values()))
        for finding in trial.try_engine(name, **chosen):
            holds = finding.problem is None
            yield _Row(f"{what}: {finding.check}", finding.problem or "holds", holds, name)
