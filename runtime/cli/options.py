"""Options that several subcommands share, so that they read the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[
    Path | None, typer.Option("-m", "--model", metavar="BUNDLE", help="Student to use instead of the shipped one.")
]
Engine = Annotated[str, typer.Option(help="Engine that runs the networks; `fastlic doctor` lists them.")]
Threads = Annotated[int | None, typer.Option(min=1, help="Threads to use; one per core by default.")]
Jobs = Annotated[
    int,
    typer.Option(
        "-j", "--jobs", min=1, help="Files to work on at once; without --threads they share the cores between them."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one line of JSON per file.")]
Force = Annotated[bool, typer.Option("-f", "--force", help="Replace files that exist.")]
Output = Annotated[
    str | None,
    typer.Option("-o", "--output", help="File, folder for several inputs, or - for standard output."),
]


def threads_each(threads: int | None, jobs: int) -> int | None:
    """Threads for each of several calls at once: as the user says, or a fair share of the cores."""
    if threads is not None or jobs == 1:
        return threads
    from fastlic.runtime.engines import usable_cores

    return max(1, usable_cores() // jobs)
