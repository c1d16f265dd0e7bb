"""`fastlic export`: a checkpoint to a verified bundle. The work is `fastlic.export`'s, found by name."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from fastlic.errors import OutputExists
from fastlic.runtime.cli import options
from fastlic.runtime.cli.console import note, print_json


def command(
    checkpoint: Annotated[Path, typer.Argument(help="A .pt state dict, its configuration (.json) beside it.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The bundle to write, .licb.")],
    configuration: Annotated[Path | None, typer.Option("--config", help="Configuration that is elsewhere.")] = None,
    student: Annotated[
        str | None,
        typer.Option(help="Family of a checkpoint in CompressAI's format, which needs no configuration."),
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="Folder or .tar of pictures to calibrate on; made up by default.")
    ] = None,
    validation: Annotated[
        Path | None, typer.Option(help="Folder or .tar to measure the rate cost on; a part of the former by default.")
    ] = None,
    decoder_only: Annotated[bool, typer.Option("--decoder-only", help="Leave the encoder out of the bundle.")] = False,
    force: options.Force = False,
    as_json: options.Json = False,
) -> None:
    """Export a checkpoint to a bundle that verifies itself; when it does not hold: exit code 3 and no bundle."""
    if output.exists() and not force:
        raise OutputExists(f"{output} exists. Replace it with --force.")
    convert = import_module("fastlic.export.convert").convert
    report = convert(
        checkpoint,
        output,
        configuration=configuration,
        student=student,
        calibration=calibration,
        validation=validation,
        encoder=not decoder_only,
        progress=note,
    )
    if as_json:
        print_json(report)
    else:
        print(f"{checkpoint} -> {output}  {report['bytes']} bytes  fingerprint {report['fingerprint']}")
