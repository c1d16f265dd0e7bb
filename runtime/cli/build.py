"""`fastlic build`: prepare a student for an engine. The work is `fastlic.export`'s, found by name."""

from __future__ import annotations

import re
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from fastlic.errors import DependencyMissing
from fastlic.runtime.cli import options
from fastlic.runtime.cli.console import note, print_json

_TENSORRT = ("tensorrt", "tensorrt-rtx")


def command(
    bundles: Annotated[list[Path], typer.Argument(help=".licb bundles; the shipped students are named by `inspect`.")],
    engine: Annotated[str, typer.Option(help="tensorrt, tensorrt-rtx or ort-cuda.")] = "tensorrt",
    size: Annotated[list[str] | None, typer.Option(metavar="WxH", help="Size of pictures; may be given again.")] = None,
    form: Annotated[
        str | None, typer.Option(help="tensorrt: plugin, library or standard; see docs/tensorrt.md.")
    ] = None,
    precision: Annotated[str, typer.Option(help="f16 or f32, of graphs that are not exact.")] = "f16",
    device: Annotated[int, typer.Option(min=0, help="Number of the GPU.")] = 0,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write engines as files into a folder.")] = None,
    target: Annotated[
        str | None, typer.Option(metavar="X.Y", help="tensorrt-rtx, with -o: capability of another GPU, such as 8.9.")
    ] = None,
    threads: options.Threads = None,
    as_json: options.Json = False,
) -> None:
    """Make the forms and engines of students, once per GPU; it can take minutes."""
    sizes = [_size(text) for text in size or ["768x512"]]
    capability = None if target is None else _capability(target)
    if capability is not None and (output is None or engine != "tensorrt-rtx"):
        raise typer.BadParameter("--target is for --engine tensorrt-rtx with --output.")
    made = _engine(engine, form, precision, device, needs_gpu=capability is None)
    preparation = _preparation()
    from fastlic.runtime.bundle import Bundle
    from fastlic.runtime.engines import usable_cores
    from fastlic.runtime.forms import FormCache

    gpu = capability or (made.device.capability if made is not None else (0, 0))
    chosen, cache = preparation.form_chooser(engine, form, precision, gpu), FormCache()
    for path in bundles:
        with Bundle(path) as bundle:
            preparation.refuse_pinned(bundle, engine)
            _show(path, preparation.prepare_forms(bundle, chosen, cache, threads=threads or usable_cores()), as_json)
            if output is not None:
                output.mkdir(parents=True, exist_ok=True)
                _show(path, preparation.write_engines(bundle, engine, chosen, cache, sizes, gpu, output), as_json)
            elif made is not None:
                _show(path, preparation.build_engines(bundle, made, sizes), as_json)


def _engine(name: str, form: str | None, precision: str, device: int, *, needs_gpu: bool) -> Any:
    """The engine that will decode, so that what it lacks is said before any work is done."""
    from fastlic.runtime import engines
    from fastlic.runtime.engines.tensorrt import library

    if name not in _TENSORRT:
        return None
    if not needs_gpu:
        library.load("tensorrt-rtx")
        return None
    try:
        return engines.create(name, form=form, precision=precision, device=device)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _preparation() -> Any:
    try:
        return import_module("fastlic.export.preparation")
    except ModuleNotFoundError as missing:
        if missing.name not in ("onnx", "onnx_ir"):
            raise
        raise DependencyMissing(
            f"building needs {missing.name}, which is not installed. Install it: pip install 'fastlic[gpu]'."
        ) from None


def _show(path: Path, reports: Any, as_json: bool) -> None:
    for report in reports:
        if as_json:
            print_json({"source": str(path), **asdict(report)})
        elif report.done == "form":
            note(f"{path.name}: {report.graph} written as {report.form}")
        else:
            where = f"  {report.file}" if report.file else ""
            print(f"{path.name}  {report.graph}  {report.shapes}  {report.done}  {report.seconds:.1f} s{where}")


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,6})x(\d{1,6})", text)
    if found is None or "0" in found.groups():
        raise typer.BadParameter(f"--size {text}: width and height in pixels, such as 768x512.")
    return int(found[1]), int(found[2])


def _capability(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,2})\.(\d)", text)
    if found is None:
        raise typer.BadParameter(f"--target {text}: a compute capability such as 8.9.")
    return int(found[1]), int(found[2])
