"""`fastlic`: find the subcommand, turn errors into one line and an exit code.

Knows names of subcommands; knows nothing of what they do. A subcommand's module holds a function `command`.
"""

from __future__ import annotations

import sys
import warnings
from importlib import import_module
from importlib.util import find_spec
from typing import Annotated, Any, TextIO

import typer
import typer.core
import typer.main

import fastlic
from fastlic.errors import CertificateError, DependencyMissing, FastlicError, VerificationFailed
from fastlic.runtime.cli.console import VALIDATION_FAILED, complain, note

# Dispatch is by name: runtime needs no knowledge of the packages above it, and a package that is not there offers none.
COMMANDS = {
    "encode": "fastlic.runtime.cli.encode",
    "decode": "fastlic.runtime.cli.decode",
    "inspect": "fastlic.runtime.cli.inspect",
    "verify": "fastlic.runtime.cli.verify",
    "export": "fastlic.runtime.cli.export",
    "build": "fastlic.runtime.cli.build",
    "distill": "fastlic.export.distill.cli",
    "bench": "fastlic.benchmarks.cli",
    "doctor": "fastlic.runtime.cli.doctor",
}

# What the packages above the runtime import -> the extra that brings it.
_EXTRAS = {
    **dict.fromkeys(("torch", "onnx", "onnxscript"), "export"),
    **dict.fromkeys(("bjontegaard", "jinja2", "matplotlib", "pytorch_msssim"), "bench"),
}


class _LazyGroup(typer.core.TyperGroup):
    """Subcommands whose modules are imported when they are asked for.

    Types of contexts and commands are left open: they belong to click or to typer's copy of it, by typer's version.
    """

    def list_commands(self, ctx: Any) -> list[str]:
        return [name for name in COMMANDS if _exists(COMMANDS[name])]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in self.list_commands(ctx):
            return None
        single = typer.Typer(add_completion=False)
        single.command(cmd_name, no_args_is_help=False)(import_module(COMMANDS[cmd_name]).command)
        return typer.main.get_command(single)


def _exists(module: str) -> bool:
    """Whether a module can be imported, without importing it (its packages are)."""
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


app = typer.Typer(cls=_LazyGroup, add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"fastlic {fastlic.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Compress photographs with a learned codec and get the same symbols back on every machine."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and leave with its exit code.

    Args:
        arguments: without the program's name; None takes the process's own.
    """
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            app(args=arguments, prog_name="fastlic")
    except ModuleNotFoundError as missing:
        extra = _EXTRAS.get(str(missing.name))
        if extra is None:
            raise
        install = f"Install it: pip install 'fastlic[{extra}]'."
        complain(DependencyMissing(f"this needs {missing.name}, which is not installed. {install}"))
        sys.exit(1)
    except (VerificationFailed, CertificateError) as error:
        complain(error)
        sys.exit(VALIDATION_FAILED)
    except (FastlicError, OSError, MemoryError) as error:
        complain(error)
        sys.exit(1)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """A library's warning as one line, without the place in the code."""
    note(str(message))
