"""The user's cache: a folder of files that can be made again, each checked against its own hash before it is used.

Knows where the folder is and how a file in it is written, locked and checked; knows nothing of what the files hold.
A file is its content behind 36 bytes: a magic of 4 and the SHA-256 of the content. One that is damaged, cut or of
somebody else's making is as good as absent.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import platformdirs
from filelock import FileLock

from fastlic.runtime.files import write_atomically

VARIABLE = "FASTLIC_CACHE"
"""Environment variable that names another folder."""
_MAGIC = b"FLC1"
_DIGEST = hashlib.sha256().digest_size


def default_folder() -> Path:
    """The user's cache folder, or the one that FASTLIC_CACHE names; it need not exist."""
    named = os.environ.get(VARIABLE)
    return Path(named) if named else Path(platformdirs.user_cache_dir("fastlic"))


class Cache:
    """A folder of checked files.

    Args:
        folder: where; made when the first file is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, name: str) -> Path:
        """Where the file of a name lies or would lie."""
        return self.folder / name

    def read(self, name: str) -> bytes | None:
        """The content of a file, or None when there is none or it is not what was written."""
        try:
            stored = self.path(name).read_bytes()
        except FileNotFoundError:
            return None
        head, content = stored[: len(_MAGIC) + _DIGEST], stored[len(_MAGIC) + _DIGEST :]
        return content if head == _MAGIC + hashlib.sha256(content).digest() else None

    def write(self, name: str, content: bytes) -> None:
        """Write a file whole or not at all.

        Raises:
            OSError: the folder cannot be written to.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path(name), _MAGIC + hashlib.sha256(content).digest() + content)

    def damaged(self, name: str) -> bool:
        """Whether a file is there that `read` refuses."""
        return self.path(name).exists() and self.read(name) is None

    def obtain(self, name: str, make: Callable[[], bytes]) -> bytes:
        """The content of a file; when `read` has none it is made, by one process at a time.

        Args:
            name: of the file.
            make: gives the content; its exceptions leave the cache as it was.
        """
        found = self.read(name)
        if found is not None:
            return found
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{self.path(name)}.lock"):
            found = self.read(name)  # another process may have made it meanwhile
            if found is None:
                found = make()
                self.write(name, found)
            return found
