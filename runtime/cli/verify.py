"""`fastlic verify`: do bundles and `.lic` files hold what they promise, on this machine?"""

from __future__ import annotations

from typing import Annotated

import typer

from fastlic.runtime.cli import jobs, options
from fastlic.runtime.cli.console import VALIDATION_FAILED, print_json


def command(
    paths: Annotated[list[str], typer.Argument(help=".licb bundles, .lic files or folders.")],
    model: options.Model = None,
    engine: Annotated[str | None, typer.Option(help="Engine to verify; by default all that can run here.")] = None,
    threads: options.Threads = None,
    as_json: options.Json = False,
) -> None:
    """Check bundles against their hashes, certificates and vectors, and .lic files against their checksums."""
    from fastlic.runtime import conformance

    sources = [source for path in paths for source, _ in jobs.expand(path, {".lic", ".licb"})]
    failed = False
    for source in sources:
        if source is None:
            raise typer.BadParameter("verify reads files, not standard input.")
        if source.open("rb").read(2) == b"PK":
            findings = conformance.check_bundle(str(source), engine, threads=threads)
        else:
            student = None if model is None else str(model)
            findings = iter([conformance.check_file(str(source), student, engine or "auto", threads=threads)])
        for finding in findings:
            failed |= finding.problem is not None
            if as_json:
                print_json({"source": str(source), "check": finding.check, "problem": finding.problem})
            else:
                print(f"{source}  {finding.check}: {'ok' if finding.problem is None else 'FAILED: ' + finding.problem}")
    if failed:
        raise typer.Exit(VALIDATION_FAILED)
