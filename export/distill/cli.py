"""`fastlic distill`: train a student as a TOML file asks, or go on with what was begun."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    configuration: Annotated[Path, typer.Argument(help="TOML file; docs/distillation.md lists its keys.")],
) -> None:
    """Train a student, or resume its training, and print the path of the checkpoint."""
    # torch takes seconds to import: not before the file is known to be in order.
    from fastlic.export.distill.configuration import read

    run = read(configuration)

    from fastlic.export.distill.loop import train

    print(f"checkpoint {train(run)}")
