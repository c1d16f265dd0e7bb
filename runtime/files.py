"""Write a file whole or not at all."""

from __future__ import annotations

import contextlib
import secrets
from pathlib import Path


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
