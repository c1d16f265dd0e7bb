"""Remember which files of a folder are finished, so that a bulk run goes on where it stopped.

Knows one file, `.fastlic/finished.jsonl` in the output folder, and a lock beside it; knows nothing of pictures.

A line is appended when a result is known and before it is put into its place: "the result of this input under these
settings is the file with this hash". A target is finished when it has that hash. So a process may be killed at any
moment: a line without its file, or with another one, is no more than a file to do again, and there is no result
without its line. What is no line of ours, such as one that was cut off, is passed over.
"""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from filelock import FileLock, Timeout

from fastlic.errors import FolderInUse

FOLDER = ".fastlic"
FILE = "finished.jsonl"
LOCK = "lock"


@dataclass(frozen=True, slots=True)
class _Line:
    """What stands in one line.

    Attributes:
        target: path of the result, relative to the output folder, with slashes.
        source: SHA-256 of the input.
        settings: whatever else the result depends on.
        result: SHA-256 of the result.
    """

    target: str
    source: str
    settings: str
    result: str

    @classmethod
    def parse(cls, text: bytes) -> Self | None:
        """A line, or None of what is not one."""
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError):
            return None
        if not isinstance(fields, list) or len(fields) != 4 or not all(isinstance(field, str) for field in fields):
            return None
        return cls(*fields)

    def pack(self) -> bytes:
        """The line, with its end."""
        return json.dumps([self.target, self.source, self.settings, self.result]).encode() + b"\n"


class Journal:
    """The finished files of one output folder, for one run at a time. Several threads may use it.

    Args:
        folder: output folder; made if it is not there.
        settings: whatever results depend on besides the input and the target's suffix.

    Raises:
        FolderInUse: another run works into this folder.
        OSError: the folder cannot be written to.
    """

    def __init__(self, folder: Path, settings: str) -> None:
        self._folder = folder
        self._settings = settings
        own = folder / FOLDER
        own.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(own / LOCK, thread_local=False)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise FolderInUse(
                f"{folder}: another fastlic is writing into this folder. Wait for it, or name another folder."
            ) from None
        try:
            path = own / FILE
            content = path.read_bytes() if path.exists() else b""
            lines = filter(None, map(_Line.parse, content.splitlines()))
            self._lines = {line.target: line for line in lines}  # the last one counts
            self._file = path.open("ab", buffering=0)
        except BaseException:
            self._lock.release()
            raise
        self._appending = threading.Lock()
        if content and not content.endswith(b"\n"):
            self._file.write(b"\n")  # so that the next line does not join one that was cut off

    def finished(self, source: Path, target: Path) -> bool:
        """Whether `target` is the result of `source` under these settings. Reads both if it may be.

        Raises:
            OSError: one of them cannot be read.
        """
        line = self._lines.get(self._name(target))
        if line is None or line.settings != self._settings or not target.is_file():
            return False
        return line.source == file_hash(source) and line.result == file_hash(target)

    def add(self, target: Path, content: bytes, result: bytes) -> None:
        """Promise that `target` is going to be `result`. To be called before it is put there.

        Args:
            content: the input's.
        """
        line = _Line(self._name(target), _hash(content), self._settings, _hash(result))
        with self._appending:
            self._file.write(line.pack())
            self._lines[line.target] = line

    def close(self) -> None:
        """Let other runs work into the folder."""
        self._file.close()
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _name(self, target: Path) -> str:
        return target.relative_to(self._folder).as_posix()


def file_hash(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
