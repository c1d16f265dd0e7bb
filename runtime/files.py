"""Write a file whole or not at all."""

from __future__ import annotations

import contextlib
import re
import secrets
from collections.abc import Iterable
from pathlib import Path

_PARTIAL = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{8}\.part")


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Write `content` beside `path`, then rename: a reader sees the old file or the whole new one.

    Args:
        path: target; an existing file is replaced.

    Raises:
        OSError: the folder cannot be written to. Nothing is left behind.
    """
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise


def remove_partial(targets: Iterable[Path]) -> None:
    """Remove what `write_atomically` left of these targets when its process was killed.

    Args:
        targets: that nobody is writing now.

    Raises:
        OSError: a folder cannot be read or written to.
    """
    names: dict[Path, set[str]] = {}
    for target in targets:
        names.setdefault(target.parent, set()).add(target.name)
    for folder, expected in names.items():
        for path in folder.glob(".*.part"):
            match = _PARTIAL.fullmatch(path.name)
            if match and match["name"] in expected:
                path.unlink()
