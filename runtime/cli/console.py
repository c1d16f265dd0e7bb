"""What the subcommands print: records on standard output, notes and errors on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

VALIDATION_FAILED = 3
"""Exit code: something was checked and does not hold."""

Record = Mapping[str, Any]
"""What a subcommand tells about one file, by field name; JSON values."""


def complain(error: Exception, where: str | None = None) -> None:
    """Print an error as one line.

    Args:
        where: the file it concerns, unless the message begins with it.
    """
    text = describe_error(error)
    if where is not None and not text.startswith(where):
        text = f"{where}: {text}"
    print(f"fastlic: {type(error).__name__}: {text}", file=sys.stderr)


def describe_error(error: Exception) -> str:
    """An error's message on one line; of an operating system's error, file and reason."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, MemoryError) and not str(error):
        return "not enough memory"
    return " ".join(str(error).split())


def note(text: str) -> None:
    """Print a notice that does not change the outcome; whole, also when several threads do."""
    print(f"fastlic: {text}\n", end="", file=sys.stderr)


def print_json(record: Record) -> None:
    """Print one record as one line of JSON."""
    print(json.dumps(record), flush=True)


def print_fields(record: Record) -> None:
    """Print one record as aligned lines `name  value`; what is nested is indented below its name."""
    width = max(len(name) for name in record)
    for name, value in record.items():
        if isinstance(value, Mapping):
            print(name)
            for key, inner in value.items():
                print(f"  {key}  {inner if isinstance(inner, str) else json.dumps(inner)}")
        else:
            print(f"{name:{width}}  {', '.join(map(str, value)) if isinstance(value, list) else value}")
    print()
