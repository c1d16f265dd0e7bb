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
from fastlic.runtime.cli.console import print_json

_LIBRARIES = ("numpy", "onnxruntime", "constriction", "Pillow")


_NO_NATIVE = "not built: constriction decodes, several times slower; reinstall with a C++17 compiler"


class _Row(NamedTuple):
    """One line of the report; `healthy` is None for plain facts."""

    item: str
    value: str
    healthy: bool | None = None


def command(threads: options.Threads = None, as_json: options.Json = False) -> None:
    """Report the environment and try each engine on the shipped student's conformance vectors."""
    broken = False
    for row in _rows(threads):
        broken |= row.healthy is False
        if as_json:
            print_json(row._asdict())
        else:
            mark = {None: " ", True: "ok", False: "!!"}[row.healthy]
            print(f"{mark:2}  {row.item:24}  {row.value}")
    if broken:
        raise typer.Exit(1)


def _rows(threads: int | None) -> Iterator[_Row]:
    from fastlic.kernels import native
    from fastlic.runtime import bundle, conformance, engines

    yield _Row("fastlic", fastlic.__version__)
    yield _Row("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    yield _Row("cores", f"{engines.usable_cores()} usable of {os.cpu_count()}")
    for library in _LIBRARIES:
        yield _Row(library, metadata.version(library))
    built = native.available()
    yield _Row("native entropy decoder", "built" if built else _NO_NATIVE, built or None)
    for name, reason in engines.report():
        yield _Row(f"engine {name}", reason or "can run", True if reason is None else None)
    students = bundle.shipped()
    if not students:
        yield _Row("students", "none shipped: name a bundle with -m", False)
    for path in students:
        for finding in conformance.check_bundle(str(path), None, threads=threads):
            yield _Row(f"{path.stem}: {finding.check}", finding.problem or "holds", finding.problem is None)
