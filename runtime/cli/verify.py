"""`fastlic verify`: do bundles and `.lic` files hold what they promise, on this machine?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from fastlic.runtime.cli import jobs, options
from fastlic.runtime.cli.console import VALIDATION_FAILED, print_json

if TYPE_CHECKING:
    from fastlic.runtime.conformance import Finding


def command(
    paths: Annotated[list[str] | None, typer.Argument(help=".licb bundles, .lic files or folders.")] = None,
    model: options.Model = None,
    engine: Annotated[str | None, typer.Option(help="Engine to verify; by default all that can run here.")] = None,
    threads: options.Threads = None,
    as_json: options.Json = False,
    whole_suite: Annotated[
        bool, typer.Option("--conformance", help="Decode the golden files in the package: is this machine exact?")
    ] = False,
) -> None:
    """Check bundles against their hashes, certificates and vectors, and .lic files against their checksums."""
    from fastlic.runtime import conformance, golden

    if not paths and not whole_suite:
        raise typer.BadParameter("name bundles, files or folders, or ask for --conformance.")
    failed = False
    for source in [source for path in paths or () for source, _ in jobs.expand(path, {".lic", ".licb"})]:
        if source is None:
            raise typer.BadParameter("verify reads files, not standard input.")
        if source.open("rb").read(2) == b"PK":
            findings = conformance.check_bundle(str(source), engine, threads=threads)
        else:
            student = None if model is None else str(model)
            findings = iter([conformance.check_file(str(source), student, engine or "auto", threads=threads)])
        failed |= _report(str(source), findings, as_json)
    if whole_suite:
        inexact = _report("golden files", golden.check_all(engine, threads=threads), as_json)
        if not as_json:
            print(f"this machine {'does NOT decode' if inexact else 'decodes'} exactly")
        failed |= inexact
    if failed:
        raise typer.Exit(VALIDATION_FAILED)


def _report(source: str, findings: Iterable[Finding], as_json: bool) -> bool:
    """Print each finding; returns whether one is a problem."""
    failed = False
    for finding in findings:
        failed |= finding.problem is not None
        if as_json:
            print_json({"source": source, "check": finding.check, "problem": finding.problem})
        else:
            print(f"{source}  {finding.check}: {'ok' if finding.problem is None else 'FAILED: ' + finding.problem}")
    return failed
